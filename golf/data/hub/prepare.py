"""From a published export to the splits that the other stages read, every file checked on the way.

The val split is the export's; dev is text held out from training text (golf.data.hub.splits). The shards of train lie
in hub.root where one is named, and artifacts/fetch/train holds their index alone, so that DVC copies no 25 GB.
"""

from pathlib import Path

from golf.artifacts import io
from golf.config import sections
from golf.data import split_reader, transforms
from golf.data.dedup import DocumentIndex
from golf.data.hub import manifest, root, splits, validate
from golf.data.hub.client import Repository
from golf.data.hub.download import DownloadCache
from golf.data.hub.manifest import Export
from golf.data.prepare import MANIFEST_FILE, TOKENIZER_FILE
from golf.data.shard_file import read_shard
from golf.data.splitting import SPLIT_NAMES
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError, InputError
from golf.pipeline.progress import Progress

_DEFAULT_ROOT = Path("runs/hub")  # where hub.root is null: outside what DVC clears, so that a broken fetch goes on


def build_dataset(fetch_cfg: sections.FetchConfig, hub_cfg: sections.HubConfig, vocab_size: int, out: Path) -> dict:
    """Write train/, dev/, val/, tokenizer.model and manifest.json into the folder ``out``; returns the manifest.

    Raises BadInput for what the user can mend, BadArtifact for a file that is not what hub or manifest say, Unavailable
    where the hub can't be reached.
    """
    out, root_dir = Path(out), root.resolve_root(hub_cfg.root) if hub_cfg.root else None
    repository = Repository.open(hub_cfg)
    if hub_cfg.revision != repository.commit:
        _log(f"hub.revision: {hub_cfg.revision} is no commit, today it is {repository.commit}")
    cache = DownloadCache(root_dir or _DEFAULT_ROOT, repository)
    export = _select_export(fetch_cfg, hub_cfg, cache, vocab_size)
    sha256_by_path = dict(
        zip((remote.path for remote in export.files), cache.ensure_files(export.files, hub_cfg.workers), strict=True)
    )
    tokenizer, transform = Tokenizer.open(cache.path(export.tokenizer)), transforms.get_transform(export.transform)
    tokenizer.require_vocab_size(vocab_size)
    tokenizer.require_symbols(transform.symbols)

    val, train = (_open_documents(cache, files, tokenizer, hub_cfg.workers) for files in (export.val, export.train))
    validate.check_totals(cache.repo_dir, export, val, train)
    token_bytes = validate.count_token_bytes(val, [cache.path(each) for each in export.sidecar], tokenizer)
    validate.check_byte_count(cache.repo_dir, export, token_bytes)
    export_splits = splits.split_export(train, val, fetch_cfg.dev_percent, export.has_all_train, hub_cfg.workers)

    index_header = {"vocab_size": vocab_size, "bos": tokenizer.bos, "tokenizer_sha256": tokenizer.sha256}
    files = {
        kind: [(cache.path(each), sha256_by_path[each.path]) for each in getattr(export, kind)]
        for kind in manifest.FILE_KINDS
    }
    indexes = {
        "dev": splits.write_dev(out / "dev", index_header, export_splits, tokenizer, transform, fetch_cfg.shard_tokens),
        "val": splits.write_val(out / "val", index_header, files, val, token_bytes, tokenizer, transform),
    }
    train_dir = root_dir / f"train-{io.sha256_json([sha256_by_path, fetch_cfg.dev_percent])[:12]}" if root_dir else None
    indexes["train"] = splits.write_train(
        out / "train", train_dir, index_header, files["train"], export_splits, indexes
    )
    io.write_bytes(out / TOKENIZER_FILE, tokenizer.model_bytes)
    known_totals = manifest.KNOWN_TOTALS.get(hub_cfg.variant)
    dataset_manifest = {
        "source": {
            "kind": "hub",
            "repo": hub_cfg.repo,
            "commit": repository.commit,
            "variant": hub_cfg.variant,
            "sha256": io.sha256_json(sha256_by_path),
            "canonical_bytes": known_totals.n_bytes if known_totals else None,
            "repeated": len(export_splits.duplicate_numbers),
            "files": sha256_by_path,
        },
        "comparable_with_fineweb": known_totals is not None,
        "transform": export.transform,
        "tokenizer": {
            "sha256": tokenizer.sha256,
            "vocab_size": tokenizer.vocab_size,
            "bos": tokenizer.bos,
            "learned_on_train": False,
        },
        "percent": {"dev": fetch_cfg.dev_percent},
        "splits": {name: _summarize_split(out / name, indexes[name]) for name in SPLIT_NAMES},
    }
    io.write_json(out / MANIFEST_FILE, dataset_manifest)
    for name in SPLIT_NAMES:
        row = dataset_manifest["splits"][name]
        _log(f"{name}: {row['documents']:,} documents, {row['tokens']:,} tokens")
    if known_totals is None:
        _log(f"no canonical byte count is known for {hub_cfg.variant}: scores are not compared with the challenge's")
    return dataset_manifest


def _log(message: str) -> None:
    Progress("fetch", None, "").finish(message)


def _select_export(
    fetch_cfg: sections.FetchConfig, hub_cfg: sections.HubConfig, cache: DownloadCache, vocab_size: int
) -> Export:
    """The variant's files, by the repository's manifest where it has one."""
    listing = cache.repository.files
    manifest_file = manifest.find_manifest(listing)
    if manifest_file:
        cache.ensure_files([manifest_file], 1)
    manifest_bytes = cache.path(manifest_file).read_bytes() if manifest_file else b""
    export = manifest.select_export(hub_cfg, listing, manifest_file and manifest_file.path, manifest_bytes, vocab_size)
    if fetch_cfg.transform != export.transform:
        raise InputError(
            f"fetch.transform: {fetch_cfg.transform}, but the texts of {hub_cfg.variant} are written with "
            f"{export.transform}; set fetch.transform: {export.transform}"
        )
    return export


def _open_documents(
    cache: DownloadCache, files: list[manifest.RemoteFile], tokenizer: Tokenizer, workers: int
) -> DocumentIndex:
    """The documents of these shards. Raises BadArtifact for one that is no shard or holds ids beyond the vocabulary."""
    shard_readers = [read_shard(cache.path(remote)) for remote in files]
    documents, max_ids = DocumentIndex.from_shards(shard_readers, tokenizer.bos, workers)
    for shard_reader, max_id in zip(shard_readers, max_ids, strict=True):
        split_reader.require_ids_below(shard_reader.path, max_id, tokenizer.vocab_size)
    if not len(documents) or documents.starts[0]:
        raise ArtifactError(
            shard_readers[0].path, f"does not start with the BOS id {tokenizer.bos}", manifest.REVISION_HINT
        )
    return documents


def _summarize_split(folder: Path, index: dict) -> dict:
    """What manifest.json says of a split."""
    row = {"documents": split_reader.count_documents(index), "tokens": index["tokens"], "bytes": index["bytes"]}
    return row | {"sha256": io.sha256_file(folder / split_reader.INDEX_FILE)}
