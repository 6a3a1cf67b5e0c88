"""From a published export to the splits that the other stages read, every file checked on the way.

The val split is the export's; dev is text held out from training text (golf.data.hub_splits). The shards of train lie
in hub.root where one is named, and artifacts/fetch/train holds their index alone, so that DVC copies no 25 GB.
"""

from pathlib import Path

from golf.data import hub, hub_check, hub_root, hub_splits, shards, transform
from golf.data.corpus import MANIFEST, MODEL
from golf.data.hub import Export
from golf.data.hub_client import Repository
from golf.data.hub_folder import Folder
from golf.data.shard import read_shard
from golf.data.split import SPLITS
from golf.data.tokenizer import Tokenizer
from golf.data.twins import Documents
from golf.ground import sections, store
from golf.ground.errors import BadArtifact, BadInput
from golf.ground.progress import Progress

LOCAL = Path("runs/hub")  # where hub.root is null: outside what DVC clears, so that a broken fetch goes on


def build(fetch: sections.Fetch, asked: sections.Hub, vocabulary: int, out: Path) -> dict:
    """Write train/, dev/, val/, tokenizer.model and manifest.json into the folder ``out``; returns the manifest.

    Raises BadInput for what the user can mend, BadArtifact for a file that is not what hub or manifest say, Unavailable
    where the hub can't be reached.
    """
    out, root = Path(out), hub_root.resolved(asked.root) if asked.root else None
    repository = Repository.open(asked)
    if asked.revision != repository.commit:
        say(f"hub.revision: {asked.revision} is no commit, today it is {repository.commit}")
    folder = Folder(root or LOCAL, repository)
    export = select(fetch, asked, folder, vocabulary)
    digests = dict(zip((each.path for each in export.files), folder.bring(export.files, asked.workers), strict=True))
    tokenizer, change = Tokenizer.open(folder.path(export.tokenizer)), transform.of(export.transform)
    tokenizer.expect_vocabulary(vocabulary)
    tokenizer.expect_symbols(change.symbols)

    val, train = (opened(folder, files, tokenizer, asked.workers) for files in (export.val, export.train))
    hub_check.totals(folder.home, export, val, train)
    sizes = hub_check.token_bytes(val, [folder.path(each) for each in export.sidecar], tokenizer)
    hub_check.canonical_bytes(folder.home, export, sizes)
    division = hub_splits.divide(train, val, fetch.dev_percent, export.whole, asked.workers)

    about = {"vocabulary": vocabulary, "bos": tokenizer.bos, "tokenizer_sha256": tokenizer.sha256}
    files = {kind: [(folder.path(each), digests[each.path]) for each in getattr(export, kind)] for kind in hub.KINDS}
    indexes = {
        "dev": hub_splits.write_dev(out / "dev", about, division, tokenizer, change, fetch.shard_tokens),
        "val": hub_splits.write_val(out / "val", about, files, val, sizes, tokenizer, change),
    }
    place = root / f"train-{store.json_digest([digests, fetch.dev_percent])[:12]}" if root else None
    indexes["train"] = hub_splits.write_train(out / "train", place, about, files["train"], division, indexes)
    store.write_bytes(out / MODEL, tokenizer.model)
    known = hub.KNOWN.get(asked.variant)
    manifest = {
        "source": {
            "kind": "hub",
            "repo": asked.repo,
            "commit": repository.commit,
            "variant": asked.variant,
            "sha256": store.json_digest(digests),
            "canonical_bytes": known.bytes if known else None,
            "repeated": len(division.repeated),
            "files": digests,
        },
        "comparable_with_fineweb": known is not None,
        "transform": export.transform,
        "tokenizer": {
            "sha256": tokenizer.sha256,
            "vocabulary": tokenizer.vocabulary,
            "bos": tokenizer.bos,
            "learned_on_train": False,
        },
        "percent": {"dev": fetch.dev_percent},
        "splits": {name: summary(out / name, indexes[name]) for name in SPLITS},
    }
    store.write_json(out / MANIFEST, manifest)
    for name in SPLITS:
        row = manifest["splits"][name]
        say(f"{name}: {row['documents']:,} documents, {row['tokens']:,} tokens")
    if known is None:
        say(f"no canonical byte count is known for {asked.variant}: scores are not compared with the challenge's")
    return manifest


def say(line: str) -> None:
    Progress("fetch", None, "").done(line)


def select(fetch: sections.Fetch, asked: sections.Hub, folder: Folder, vocabulary: int) -> Export:
    """The variant's files, by the repository's manifest where it has one."""
    listing = folder.repository.files
    manifest = hub.manifest_of(listing)
    if manifest:
        folder.bring([manifest], 1)
    data = folder.path(manifest).read_bytes() if manifest else b""
    export = hub.choose(asked, listing, manifest and manifest.path, data, vocabulary)
    if fetch.transform != export.transform:
        raise BadInput(
            f"fetch.transform: {fetch.transform}, but the texts of {asked.variant} are written with "
            f"{export.transform}; set fetch.transform: {export.transform}"
        )
    return export


def opened(folder: Folder, files: list[hub.Remote], tokenizer: Tokenizer, workers: int) -> Documents:
    """The documents of these shards. Raises BadArtifact for one that is no shard or holds ids beyond the vocabulary."""
    parts = [read_shard(folder.path(each)) for each in files]
    documents, largest = Documents.of(parts, tokenizer.bos, workers)
    for part, found in zip(parts, largest, strict=True):
        shards.demand_below(part.path, found, tokenizer.vocabulary)
    if not len(documents) or documents.starts[0]:
        raise BadArtifact(parts[0].path, f"does not start with the BOS id {tokenizer.bos}", hub.CURE)
    return documents


def summary(folder: Path, index: dict) -> dict:
    """What manifest.json says of a split."""
    told = {"documents": shards.count(index), "tokens": index["tokens"], "bytes": index["bytes"]}
    return told | {"sha256": store.digest(folder / shards.INDEX)}
