"""A small export of somebody's text, as the challenge publishes its own, and params that ask for it."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from conftest import ROOT, thimble_documents
from hub_server import COMMIT, FOLDER, MANIFEST, MODEL, REPO, described, numbered

from golf.data import canonical, tokenizer, transform
from golf.data.tokenizer import Tokenizer
from golf.ground import params, sections

VOCABULARY, SHARD = 384, 1500


@dataclass(frozen=True)
class Small:
    """files by path; val, train: ids of each document."""

    files: dict[str, bytes]
    val: list[np.ndarray]
    train: list[np.ndarray]
    tokenizer: Tokenizer

    @property
    def shards(self) -> int:
        return sum("train" in path for path in self.files)


def small(val: int = 12, repeat: tuple[int, ...] = (), transform_name: str = "none") -> Small:
    """repeat: numbers of val's documents that train holds once more, near its beginning."""
    change = transform.of(transform_name)
    texts = [change.apply(canonical.text(text)) for text in thimble_documents(72)]
    made = Tokenizer(tokenizer.train(texts, VOCABULARY, change.symbols), "small")
    ids = made.encode(texts)
    train = ids[val : val + 5] + [ids[number] for number in repeat] + ids[val + 5 :]
    files = {MODEL: made.model}
    files |= numbered("val", np.concatenate(ids[:val]), SHARD) | numbered("train", np.concatenate(train), SHARD)
    if change.carried:
        sizes = [change.carried(made.spell(document)) for document in ids[:val]]
        files |= numbered("val_bytes", np.concatenate(sizes), SHARD)
    files[MANIFEST] = described(files, VOCABULARY, {"val": val, "train": len(train)})
    return Small(files, ids[:val], train, made)


def caseops() -> Small:
    """The same with CaseOps and its sidecar, laid out without a manifest."""
    made = small(transform_name="caseops")
    files = {path.replace(FOLDER, "data/fineweb10B_sp384_caseops"): data for path, data in made.files.items()}
    files["data/tokenizers/fineweb_384_bpe_caseops.model"] = files.pop(MODEL)
    del files[MANIFEST]
    return dataclasses.replace(made, files=files)


def asked(**changes) -> sections.Hub:
    settings = {"repo": REPO, "revision": COMMIT, "variant": "sp384", "train_shards": 3, "root": None, "workers": 2}
    return sections.Hub(**(settings | changes))


def fetch(**changes) -> sections.Fetch:
    settings = {"source": "hub", "dev_percent": 10.0} | changes
    return dataclasses.replace(params.read(ROOT / "profiles/record.yaml").fetch, **settings)
