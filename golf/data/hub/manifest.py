"""Select the files of a published export by its manifest, checked against the repository's listing.

The format is in docs/references.md#hub-format. ``datasets/manifest.json`` names data sets ``fineweb10B_<variant>`` with
their folder, tokenizer and totals; its paths are relative to it. A folder holds ``fineweb_train_%06d.bin`` and
``fineweb_val_%06d.bin``, and for CaseOps the sidecar ``fineweb_val_bytes_%06d.bin`` (PR #1729), which the glob
``fineweb_val_*`` would wrongly count as val. A repository without a manifest is read by these names alone; its totals
are then those of KNOWN_TOTALS, or none.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from golf.config.sections import HubConfig
from golf.errors import ArtifactError, InputError
from golf.pipeline.progress import format_count

__all__ = [
    "FILE_KINDS",
    "KNOWN_TOTALS",
    "REVISION_HINT",
    "Export",
    "KnownTotals",
    "RemoteFile",
    "find_manifest",
    "select_export",
]

_DATASET_PREFIX = "fineweb10B_"
_MANIFEST_PATHS = ("datasets/manifest.json", "manifest.json")
_SHARD_PATTERN = re.compile(r"fineweb_(train|val|val_bytes)_(\d{6})\.bin")
_STAT_KEYS = ("docs_val", "docs_train", "tokens_val", "tokens_train", "files_val", "files_train")
REVISION_HINT = "try another hub.revision"
FILE_KINDS = ("val", "sidecar", "train")  # the lists of files of an Export


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the repository. size: in bytes. sha256: as the hub lists it; None for a file kept in Git itself."""

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class KnownTotals:
    """Known size of a variant's val split: ``n_bytes`` is of its first ``n_targets`` targets.

    Derived from the logs of records: docs/references.md#known-totals.
    """

    n_documents: int
    n_targets: int
    n_bytes: int


KNOWN_TOTALS = {
    "sp8192": KnownTotals(50_000, 40_540_160, 151_078_222),
    "sp8192_lossless_caps_caseops_v1_reserved": KnownTotals(50_000, 47_851_520, 151_074_498),
}


@dataclass(frozen=True)
class Export:
    """The files of one variant that are to be fetched.

    val, sidecar, train: in order; train holds the first hub.train_shards shards. has_all_train: these are all.
    transform: fetch.transform of its texts. stats: totals over all files of the variant, by key; may be empty.
    """

    variant: str
    transform: str
    tokenizer: RemoteFile
    val: list[RemoteFile]
    sidecar: list[RemoteFile]
    train: list[RemoteFile]
    has_all_train: bool
    stats: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> list[RemoteFile]:
        return [self.tokenizer, *self.val, *self.sidecar, *self.train]


def find_manifest(listing: dict[str, RemoteFile]) -> RemoteFile | None:
    """Return the repository's manifest, or None."""
    return next((listing[path] for path in _MANIFEST_PATHS if path in listing), None)


def select_export(
    hub_cfg: HubConfig,
    listing: dict[str, RemoteFile],
    manifest_path: str | None,
    manifest_bytes: bytes,
    vocab_size: int,
) -> Export:
    """Return the files that the section ``hub`` asks for.

    manifest_path, manifest_bytes: None and b"" when the repository has no manifest.
    Raises InputError naming the key to correct, ArtifactError when manifest and repository disagree.
    """
    if manifest_path is None:
        folder, tokenizer_path, stats = _resolve_from_names(hub_cfg, listing)
    else:
        folder, tokenizer_path, stats = _resolve_from_manifest(hub_cfg, manifest_path, manifest_bytes, vocab_size)
    location = f"{hub_cfg.repo}/{folder}"
    val, sidecar, train = (_list_shards(location, listing, folder, kind) for kind in ("val", "val_bytes", "train"))
    for kind, files in (("val", val), ("train", train)):
        if len(files) != stats.get(f"files_{kind}", len(files)) or not files:
            n_expected = stats.get(f"files_{kind}", "some")
            raise ArtifactError(
                location, f"has {len(files)} {kind} shards, its manifest says {n_expected}", REVISION_HINT
            )
    if len(sidecar) not in (0, len(val)):
        raise ArtifactError(
            location,
            f"has {format_count(len(sidecar), 'sidecar')} for {format_count(len(val), 'val shard')}",
            REVISION_HINT,
        )
    if hub_cfg.train_shards > len(train):
        raise InputError(
            f"hub.train_shards: {hub_cfg.train_shards}, {hub_cfg.variant} has {len(train)}; set it to that or fewer"
        )
    if tokenizer_path not in listing:
        raise ArtifactError(f"{hub_cfg.repo}/{tokenizer_path}", "the tokenizer is not in the repository", REVISION_HINT)
    return Export(
        hub_cfg.variant,
        "caseops" if "caseops" in hub_cfg.variant else "none",
        listing[tokenizer_path],
        val,
        sidecar,
        train[: hub_cfg.train_shards],
        hub_cfg.train_shards == len(train),
        stats,
    )


def _resolve_from_manifest(
    hub_cfg: HubConfig, manifest_path: str, manifest_bytes: bytes, vocab_size: int
) -> tuple[str, str, dict[str, int]]:
    """The variant's folder, the path of its tokenizer, and its totals."""
    location, base_dir = f"{hub_cfg.repo}/{manifest_path}", PurePosixPath(manifest_path).parent
    try:
        manifest = json.loads(manifest_bytes)
        datasets = {row["name"].removeprefix(_DATASET_PREFIX): row for row in manifest["datasets"]}
        tokenizers = {row["name"]: row for row in manifest["tokenizers"]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ArtifactError(location, "not a manifest of named datasets and tokenizers", REVISION_HINT) from None
    if hub_cfg.variant not in datasets:
        raise InputError(
            f"hub.variant: {hub_cfg.variant} is not in {hub_cfg.repo}, which has {', '.join(sorted(datasets))}; "
            "set hub.variant to one of these"
        )
    try:
        dataset = datasets[hub_cfg.variant]
        n_pieces, folder = dataset["vocab_size"], (base_dir / dataset["path"]).as_posix()
        tokenizer_path = (base_dir / tokenizers[dataset["tokenizer_name"]]["model_path"]).as_posix()
        stats = {key: dataset["stats"][key] for key in _STAT_KEYS}
    except (KeyError, TypeError):
        problem = f"its entry for {hub_cfg.variant} lacks a path, a tokenizer or totals"
        raise ArtifactError(location, problem, REVISION_HINT) from None
    non_integer_keys = [key for key, value in stats.items() if type(value) is not int]
    if non_integer_keys:
        problem = f"{', '.join(non_integer_keys)} of {hub_cfg.variant} must be an integer"
        raise ArtifactError(location, problem, REVISION_HINT)
    if n_pieces != vocab_size:
        raise InputError(
            f"model.vocab_size: {vocab_size}, but {hub_cfg.variant} has {n_pieces}; set one to match the other"
        )
    return folder, tokenizer_path, stats


def _resolve_from_names(hub_cfg: HubConfig, listing: dict[str, RemoteFile]) -> tuple[str, str, dict[str, int]]:
    """The same from file names: the data set's folder, and the model in a ``tokenizers`` folder beside or above it."""
    folders = sorted(
        {PurePosixPath(path).parent for path in listing if _SHARD_PATTERN.fullmatch(PurePosixPath(path).name)}
    )
    datasets = {folder.name.removeprefix(_DATASET_PREFIX): folder for folder in folders}
    if hub_cfg.variant not in datasets:
        available = f"which has {', '.join(datasets)}; set hub.variant to one of these"
        availability = available if datasets else "which has no shards; name another hub.repo"
        raise InputError(f"hub.variant: {hub_cfg.variant} is not in {hub_cfg.repo}, {availability}")
    tokenizer_dirs = [(parent / "tokenizers").as_posix() for parent in datasets[hub_cfg.variant].parents]
    models = [
        path for path in listing if path.endswith(".model") and PurePosixPath(path).parent.as_posix() in tokenizer_dirs
    ]
    variant_suffix = hub_cfg.variant.partition("_")[2]
    models = [path for path in models if not variant_suffix or variant_suffix in path]
    if len(models) != 1:
        problem = f"has no manifest and {len(models)} tokenizers that could belong to {hub_cfg.variant}, expected 1"
        raise ArtifactError(hub_cfg.repo, problem, REVISION_HINT)
    known_totals = KNOWN_TOTALS.get(hub_cfg.variant)
    return (
        datasets[hub_cfg.variant].as_posix(),
        models[0],
        {"docs_val": known_totals.n_documents} if known_totals else {},
    )


def _list_shards(location: str, listing: dict[str, RemoteFile], folder: str, kind: str) -> list[RemoteFile]:
    """The files of one kind, whose numbers must start at 0 and have no gap."""
    file_by_number = {}
    for path, remote in listing.items():
        match = _SHARD_PATTERN.fullmatch(path.removeprefix(f"{folder}/"))
        if match and match[1] == kind:
            file_by_number[int(match[2])] = remote
    missing = sorted(set(range(len(file_by_number))) - file_by_number.keys())
    if missing:
        raise ArtifactError(location, f"lacks fineweb_{kind}_{missing[0]:06d}.bin", REVISION_HINT)
    return [file_by_number[number] for number in range(len(file_by_number))]
