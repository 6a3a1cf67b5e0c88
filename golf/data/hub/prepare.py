"""Build the data set from a published export: download, validate, split, write.

The val split is the export's; dev is held out from its train text (golf.data.hub.splits). With hub.root set, train's
shards lie there and artifacts/fetch/train holds only their index, so that DVC does not copy 25 GB.
"""

from pathlib import Path
from typing import Any

from golf.artifacts import io, json_records
from golf.config.sections import FetchConfig, HubConfig
from golf.data import transforms
from golf.data.contamination import measure_contamination
from golf.data.hub import contamination, manifest, splits, validate
from golf.data.hub.client import Repository
from golf.data.hub.dedup import DocumentIndex
from golf.data.hub.download import DownloadCache
from golf.data.hub.manifest import Export, RemoteFile
from golf.data.prepare import MANIFEST_FILE, TOKENIZER_FILE, summarize_tokenizer
from golf.data.shard_file import read_shard
from golf.data.split_reader import INDEX_FILE, count_documents, require_ids_below, resolve_hub_root
from golf.data.splitting import SPLIT_NAMES
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError, InputError
from golf.pipeline.progress import format_count, log_line

__all__ = ["build_dataset"]

_DEFAULT_ROOT = Path("runs/hub")  # when hub.root is null: outside what DVC clears, so an interrupted fetch can resume


def build_dataset(fetch_cfg: FetchConfig, hub_cfg: HubConfig, vocab_size: int, out: Path) -> dict[str, Any]:
    """Write train/, dev/, val/, tokenizer.model and manifest.json into the folder ``out``; returns the manifest.

    Raises InputError naming the key to correct, ArtifactError for a file that differs from the hub's listing or the
    manifest, UnavailableError when the hub can't be reached.
    """
    hub_root = resolve_hub_root(hub_cfg.root) if hub_cfg.root else None
    repository = Repository.open(hub_cfg)
    if hub_cfg.revision != repository.commit:
        _log(f"hub.revision: {hub_cfg.revision} is resolved to commit {repository.commit}")
    cache = DownloadCache(hub_root or _DEFAULT_ROOT, repository)
    export = _select_export(fetch_cfg, hub_cfg, cache, vocab_size)
    sha256s = cache.ensure_files(export.files, hub_cfg.workers)
    sha256_by_path = {remote.path: sha256 for remote, sha256 in zip(export.files, sha256s, strict=True)}
    tokenizer, transform = Tokenizer.open(cache.path(export.tokenizer)), transforms.get_transform(export.transform)
    tokenizer.require_vocab_size(vocab_size)
    tokenizer.require_symbols(transform.symbols)
    tokenizer.require_text_unchanged()

    val, train = (_open_documents(cache, files, tokenizer, hub_cfg.workers) for files in (export.val, export.train))
    validate.check_totals(cache.repo_dir, export, val, train)
    token_bytes = validate.read_val_token_bytes(val, [cache.path(remote) for remote in export.sidecar], tokenizer)
    validate.check_byte_count(cache.repo_dir, export, token_bytes)
    export_splits = splits.split_export(train, val, fetch_cfg.dev_percent, export.has_all_train, hub_cfg.workers)
    covered: dict[str, contamination.CoveredRanges] = {}
    if fetch_cfg.contamination:
        covered = contamination.find_covered_ranges(export_splits, val, token_bytes, tokenizer, transform)

    index_header = {"vocab_size": vocab_size, "bos": tokenizer.bos, "tokenizer_sha256": tokenizer.sha256}
    files = {
        kind: [(cache.path(remote), sha256_by_path[remote.path]) for remote in getattr(export, kind)]
        for kind in manifest.FILE_KINDS
    }
    indexes = {
        "dev": splits.write_dev(
            out / "dev", index_header, export_splits, covered.get("dev"), tokenizer, transform, fetch_cfg.shard_tokens
        ),
        "val": splits.write_val(
            out / "val", index_header, files, val, token_bytes, covered.get("val"), tokenizer, transform
        ),
    }
    train_dir = hub_root / f"train-{io.sha256_json([sha256_by_path, fetch_cfg.dev_percent])[:12]}" if hub_root else None
    train_index = splits.write_train(out / "train", train_dir, index_header, files["train"], export_splits, indexes)
    indexes["train"] = train_index
    io.write_bytes(out / TOKENIZER_FILE, tokenizer.model_bytes)
    known_totals = manifest.KNOWN_TOTALS.get(hub_cfg.variant)
    split_rows = {name: _summarize_split(out / name, indexes[name]) for name in SPLIT_NAMES}
    dataset_manifest = {
        "source": {
            "kind": "hub",
            "repo": hub_cfg.repo,
            "commit": repository.commit,
            "variant": hub_cfg.variant,
            "sha256": io.sha256_json(sha256_by_path),
            "canonical_bytes": known_totals.n_bytes if known_totals else None,
            "n_duplicates": len(export_splits.duplicate_numbers),
            "files": sha256_by_path,
        },
        "comparable_with_fineweb": known_totals is not None,
        "transform": export.transform,
        "tokenizer": summarize_tokenizer(tokenizer, trained=False),
        "percent": {"dev": fetch_cfg.dev_percent},
        "splits": split_rows,
    }
    json_records.write_sealed(out / MANIFEST_FILE, dataset_manifest)
    for name, row in split_rows.items():
        _log(f"{name}: {format_count(row['documents'], 'document')}, {format_count(row['tokens'], 'token')}")
    if known_totals is None:
        _log(f"no canonical byte count is known for {hub_cfg.variant}: scores are not comparable with the challenge's")
    return dataset_manifest


def _log(message: str) -> None:
    log_line("fetch", message)


def _select_export(fetch_cfg: FetchConfig, hub_cfg: HubConfig, cache: DownloadCache, vocab_size: int) -> Export:
    """The variant's files, by the repository's manifest if it has one."""
    manifest_file = manifest.find_manifest(cache.repository.files)
    manifest_path, manifest_bytes = None, b""
    if manifest_file:
        cache.ensure_files([manifest_file], 1)
        manifest_path, manifest_bytes = manifest_file.path, cache.path(manifest_file).read_bytes()
    export = manifest.select_export(hub_cfg, cache.repository.files, manifest_path, manifest_bytes, vocab_size)
    if fetch_cfg.transform != export.transform:
        raise InputError(
            f"fetch.transform: {fetch_cfg.transform}, but the texts of {hub_cfg.variant} are encoded with "
            f"{export.transform}; set fetch.transform: {export.transform}"
        )
    return export


def _open_documents(cache: DownloadCache, files: list[RemoteFile], tokenizer: Tokenizer, workers: int) -> DocumentIndex:
    """The documents of these shards. Raises ArtifactError for a malformed shard or ids outside the vocabulary."""
    shards = [read_shard(cache.path(remote)) for remote in files]
    documents, max_ids = DocumentIndex.from_shards(shards, tokenizer.bos, workers)
    for shard, max_id in zip(shards, max_ids, strict=True):
        require_ids_below(shard.path, max_id, tokenizer.vocab_size)
    if not len(documents) or documents.starts[0]:
        problem = f"does not start with the BOS id {tokenizer.bos}"
        raise ArtifactError(shards[0].path, problem, manifest.REVISION_HINT)
    return documents


def _summarize_split(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    """The manifest's entry for a split."""
    return {
        "documents": count_documents(index),
        "tokens": index["tokens"],
        "bytes": index["bytes"],
        "contamination": measure_contamination(index["documents"]),
        "sha256": io.sha256_file(folder / INDEX_FILE),
    }
