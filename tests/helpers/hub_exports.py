"""A small export in the format of the challenge's, and the configuration that fetches it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golf.config import loader, sections
from golf.data import normalize, split_reader, transforms
from golf.data.hub import prepare as hub_prepare
from golf.data.tokenization.trainer import train_tokenizer
from golf.data.tokenizer import Tokenizer
from tests.helpers.hub_server import (
    COMMIT,
    EXPORT_DIR,
    MANIFEST_PATH,
    REPO,
    TOKENIZER_PATH,
    manifest_bytes,
    shard_files,
)
from tests.helpers.tiny_corpus import ROOT, make_tiny_corpus

VOCAB_SIZE, SHARD_TOKENS = 384, 1500


@dataclass(frozen=True)
class HubExport:
    """files: content by path. val_documents, train_documents: ids of each document."""

    files: dict[str, bytes]
    val_documents: list[np.ndarray]
    train_documents: list[np.ndarray]
    tokenizer: Tokenizer

    @property
    def n_train_shards(self) -> int:
        return sum("train" in path for path in self.files)


def make_export(n_val: int = 12, repeated_val: tuple[int, ...] = (), transform_name: str = "none") -> HubExport:
    """repeated_val: numbers of val's documents that are also in train, near its beginning."""
    transform = transforms.get_transform(transform_name)
    documents = [transform.encode(normalize.normalize(text)) for text in make_tiny_corpus(72)]
    export_tokenizer = Tokenizer(train_tokenizer(documents, VOCAB_SIZE, transform.symbols), "small")
    ids = export_tokenizer.encode(documents)
    train_ids = ids[n_val : n_val + 5] + [ids[number] for number in repeated_val] + ids[n_val + 5 :]
    files = {TOKENIZER_PATH: export_tokenizer.model_bytes}
    files |= shard_files("val", np.concatenate(ids[:n_val]), SHARD_TOKENS) | shard_files(
        "train", np.concatenate(train_ids), SHARD_TOKENS
    )
    if transform.count_piece_bytes:
        token_bytes = [transform.count_piece_bytes(export_tokenizer.ids_to_bytes(document)) for document in ids[:n_val]]
        files |= shard_files("val_bytes", np.concatenate(token_bytes), SHARD_TOKENS)
    files[MANIFEST_PATH] = manifest_bytes(files, VOCAB_SIZE, {"val": n_val, "train": len(train_ids)})
    return HubExport(files, ids[:n_val], train_ids, export_tokenizer)


def make_caseops_export() -> HubExport:
    """An export with CaseOps and its sidecar, without a manifest."""
    export = make_export(transform_name="caseops")
    files = {path.replace(EXPORT_DIR, "data/fineweb10B_sp384_caseops"): data for path, data in export.files.items()}
    files["data/tokenizers/fineweb_384_bpe_caseops.model"] = files.pop(TOKENIZER_PATH)
    del files[MANIFEST_PATH]
    return dataclasses.replace(export, files=files)


def hub_config(**overrides) -> sections.HubConfig:
    settings = {"repo": REPO, "revision": COMMIT, "variant": "sp384", "train_shards": 3, "root": None, "workers": 2}
    return sections.HubConfig(**(settings | overrides))


def fetch_config(**overrides) -> sections.FetchConfig:
    settings = {"source": "hub", "dev_percent": 10.0} | overrides
    return dataclasses.replace(loader.load_config(ROOT / "profiles/record.yaml").fetch, **settings)


def build(name="out", vocab_size=VOCAB_SIZE, fetch_cfg=None, **changes):
    """Download the export of the server that HF_ENDPOINT names into a folder; returns the manifest."""
    out = Path(name)
    out.mkdir(exist_ok=True)
    return hub_prepare.build_dataset(fetch_cfg or fetch_config(), hub_config(**changes), vocab_size, out)


def open_splits(folder="out", hub_root=None):
    return {name: split_reader.open_split(Path(folder) / name, hub_root=hub_root) for name in ("train", "dev", "val")}
