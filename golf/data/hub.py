"""Which files of a published export to fetch: by its manifest, held against the repository's own listing.

Layout (data-formats 3.1, 3.2): ``datasets/manifest.json`` names data sets ``fineweb10B_<variant>`` with their folder,
their tokenizer and their totals, paths relative to the manifest. A folder holds ``fineweb_train_%06d.bin`` and
``fineweb_val_%06d.bin``, and for CaseOps the sidecar ``fineweb_val_bytes_%06d.bin`` (PR #1729, data-formats 3.6), which
a pattern of ``fineweb_val_*`` would count as val. A repository without a manifest is read by the same names alone:
totals are then those that are known of the variant, or none.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from golf.ground.errors import BadArtifact, BadInput
from golf.ground.sections import Hub

PREFIX = "fineweb10B_"
MANIFESTS = ("datasets/manifest.json", "manifest.json")
NUMBERED = re.compile(r"fineweb_(train|val|val_bytes)_(\d{6})\.bin")
STATS = ("docs_val", "docs_train", "tokens_val", "tokens_train", "files_val", "files_train")
CURE = "try another hub.revision"
KINDS = ("val", "sidecar", "train")  # the lists of an Export


@dataclass(frozen=True, slots=True)
class Remote:
    """A file of the repository. size: bytes; sha256: the hub's own record, None for a file that it keeps in Git."""

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Known:
    """What val of a variant is known to be: bytes of the first ``targets`` targets, from logs (record-stack 6.1)."""

    documents: int
    targets: int
    bytes: int


KNOWN = {
    "sp8192": Known(50_000, 40_540_160, 151_078_222),
    "sp8192_lossless_caps_caseops_v1_reserved": Known(50_000, 47_851_520, 151_074_498),
}


@dataclass(frozen=True)
class Export:
    """One variant. val, sidecar, train: in order, train the first so many; whole: that is all of train.

    stats: of the keys in STATS those that the manifest gives, counts over all files. transform: of its texts.
    """

    variant: str
    transform: str
    tokenizer: Remote
    val: list[Remote]
    sidecar: list[Remote]
    train: list[Remote]
    whole: bool
    stats: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> list[Remote]:
        return [self.tokenizer, *self.val, *self.sidecar, *self.train]


def manifest_of(listing: dict[str, Remote]) -> Remote | None:
    return next((listing[path] for path in MANIFESTS if path in listing), None)


def choose(hub: Hub, listing: dict[str, Remote], path: str | None, data: bytes, vocabulary: int) -> Export:
    """The files that ``hub`` asks for. path, data: of the manifest, None and b"" where the repository has none.

    Raises BadInput naming the key to mend, BadArtifact where manifest and repository disagree.
    """
    if path is None:
        folder, tokenizer, stats = by_names(hub, listing)
    else:
        folder, tokenizer, stats = by_manifest(hub, path, data, vocabulary)
    where = f"{hub.repo}/{folder}"
    val, sidecar, train = (numbered(where, listing, folder, kind) for kind in ("val", "val_bytes", "train"))
    for kind, files in (("val", val), ("train", train)):
        if len(files) != stats.get(f"files_{kind}", len(files)) or not files:
            told = stats.get(f"files_{kind}", "some")
            raise BadArtifact(where, f"has {len(files)} {kind} shards, its manifest says {told}", CURE)
    if len(sidecar) not in (0, len(val)):
        raise BadArtifact(where, f"has {len(sidecar)} sidecars for {len(val)} val shards", CURE)
    if hub.train_shards > len(train):
        raise BadInput(f"hub.train_shards: {hub.train_shards}, {hub.variant} has {len(train)}; ask for that or fewer")
    if tokenizer not in listing:
        raise BadArtifact(f"{hub.repo}/{tokenizer}", "the tokenizer is not in the repository", CURE)
    return Export(
        hub.variant,
        "caseops" if "caseops" in hub.variant else "none",
        listing[tokenizer],
        val,
        sidecar,
        train[: hub.train_shards],
        hub.train_shards == len(train),
        stats,
    )


def by_manifest(hub: Hub, path: str, data: bytes, vocabulary: int) -> tuple[str, str, dict[str, int]]:
    """Folder, path of the tokenizer, and totals of the variant."""
    where, base = f"{hub.repo}/{path}", PurePosixPath(path).parent
    try:
        tree = json.loads(data)
        sets = {row["name"].removeprefix(PREFIX): row for row in tree["datasets"]}
        tokenizers = {row["name"]: row for row in tree["tokenizers"]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadArtifact(where, "not a manifest with named datasets and tokenizers", CURE) from None
    if hub.variant not in sets:
        raise BadInput(f"hub.variant: {hub.variant} is not in {hub.repo}, which has {', '.join(sorted(sets))}")
    try:
        found = sets[hub.variant]
        pieces, folder = found["vocab_size"], (base / found["path"]).as_posix()
        tokenizer = (base / tokenizers[found["tokenizer_name"]]["model_path"]).as_posix()
        stats = {key: found["stats"][key] for key in STATS}
    except (KeyError, TypeError):
        problem = f"what it says of {hub.variant} lacks a path, a tokenizer or totals"
        raise BadArtifact(where, problem, CURE) from None
    wrong = [key for key, value in stats.items() if type(value) is not int]
    if wrong:
        raise BadArtifact(where, f"of {hub.variant}, {', '.join(wrong)} is no number", CURE)
    if pieces != vocabulary:
        raise BadInput(f"model.vocabulary: {vocabulary}, {hub.variant} has {pieces}; set one to fit the other")
    return folder, tokenizer, stats


def by_names(hub: Hub, listing: dict[str, Remote]) -> tuple[str, str, dict[str, int]]:
    """The same from the names of files: the data set's folder, and the model that its folder's neighbour holds."""
    folders = sorted({PurePosixPath(path).parent for path in listing if NUMBERED.fullmatch(PurePosixPath(path).name)})
    sets = {folder.name.removeprefix(PREFIX): folder for folder in folders}
    if hub.variant not in sets:
        has = f"which has {', '.join(sets)}" if sets else "which has no shards at all"
        raise BadInput(f"hub.variant: {hub.variant} is not in {hub.repo}, {has}")
    homes = [(parent / "tokenizers").as_posix() for parent in sets[hub.variant].parents]
    models = [path for path in listing if path.endswith(".model") and PurePosixPath(path).parent.as_posix() in homes]
    kind = hub.variant.partition("_")[2]
    models = [path for path in models if not kind or kind in path]
    if len(models) != 1:
        problem = f"has no manifest and {len(models)} tokenizers that could be {hub.variant}'s"
        raise BadArtifact(hub.repo, problem, CURE)
    known = KNOWN.get(hub.variant)
    return sets[hub.variant].as_posix(), models[0], {"docs_val": known.documents} if known else {}


def numbered(where: str, listing: dict[str, Remote], folder: str, kind: str) -> list[Remote]:
    """The files of one kind, numbered from 0 on without a gap."""
    found = {}
    for path, remote in listing.items():
        match = NUMBERED.fullmatch(path.removeprefix(f"{folder}/"))
        if match and match[1] == kind:
            found[int(match[2])] = remote
    missing = sorted(set(range(len(found))) - found.keys())
    if missing:
        raise BadArtifact(where, f"lacks fineweb_{kind}_{missing[0]:06d}.bin", CURE)
    return [found[number] for number in range(len(found))]
