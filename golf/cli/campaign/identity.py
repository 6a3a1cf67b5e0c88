"""Identify what all runs of a campaign share: the settings but for the seed, the code, the user's own input files.

Two campaigns with equal identities differ only in their seeds. What fetch made of the inputs is compared as well, once
a run has ended (``golf.cli.campaign.collection``).
"""

import dataclasses
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.artifacts import io, source_deps
from golf.config import loader, validation, yaml_reader
from golf.config.loader import Config
from golf.errors import ArtifactError, ConfigError

__all__ = [
    "SEED_KEY",
    "Identity",
    "find_difference",
    "hash_code",
    "make_default_name",
    "parse_settings",
    "read_identity",
]

SEED_KEY = "train.seed"
_MAX_VALUE_CHARS = 60


@dataclass(frozen=True)
class Identity:
    """settings: value by dotted key, without the seed. code: sha256 by source file. inputs: sha256 by path."""

    settings: dict[str, Any]
    code: dict[str, str]
    inputs: dict[str, str]

    @property
    def digest(self) -> str:
        return io.sha256_json(dataclasses.asdict(self))


def read_identity(overrides: Mapping[str, str]) -> Identity:
    """Return the identity of a run in the current folder. overrides: text by dotted key, as in ``--set key=text``.

    Raises ConfigError for params.yaml or an override that is not valid, InputError for source files that do not parse.
    """
    settings, _ = parse_settings(loader.PARAMS_FILE.read_bytes() if loader.PARAMS_FILE.is_file() else None, overrides)
    code = hash_code(_list_sources(), lambda file: Path(file).read_bytes())
    return Identity(settings, code, _hash_inputs(settings))


def parse_settings(params: bytes | None, overrides: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    """Return the settings in the text of a params.yaml with overrides, without the seed, and the seed.

    params: None for a file that is missing. Raises ConfigError.
    """
    with tempfile.TemporaryDirectory(prefix="golf-campaign-") as folder:
        path = Path(folder) / "params.yaml"
        if params is not None:
            path.write_bytes(params)
        try:
            config = loader.load_config(path)
            raw = yaml_reader.read_yaml(path)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(path), loader.PARAMS_FILE.name)) from None
        for dotted, text in overrides.items():
            _override(raw, dotted, _parse_value(dotted, text, path.with_name("value.yaml")))
    if overrides:
        config, problems = validation.from_mapping(Config, raw, "")
        if problems:
            raise ConfigError(f"--set: {'; '.join(problems)}")
    settings = dict(_flatten(config))
    seed: int = settings.pop(SEED_KEY)
    return settings, seed


def _parse_value(dotted: str, text: str, path: Path) -> Any:
    """The value that DVC writes into params.yaml for ``-S key=text``."""
    path.write_text(f"value: {text}\n", encoding="utf-8")
    try:
        return yaml_reader.read_yaml(path)["value"]
    except ConfigError as error:
        raise ConfigError(f"--set {dotted}: {str(error).removeprefix(f'{path}: ')}") from None


def _override(raw: dict[str, Any], dotted: str, value: Any) -> None:
    section, _, key = dotted.partition(".")
    target = raw if not key else raw.get(section)
    name = key or section
    if dotted == SEED_KEY:
        raise ConfigError(f"--set {SEED_KEY}: the seeds of a campaign are given as --seeds")
    if not isinstance(target, dict) or name not in target or isinstance(target[name], dict):
        raise ConfigError(f"--set {dotted}: params.yaml has no such key; docs/configuration.md lists all keys")
    target[name] = value


def _flatten(config: Config) -> Iterable[tuple[str, Any]]:
    for section, value in dataclasses.asdict(config).items():
        if not isinstance(value, dict):
            yield section, value
            continue
        for key, item in value.items():
            yield f"{section}.{key}", list(item) if isinstance(item, tuple) else item


def _list_sources() -> list[str]:
    """The source files that can change an output of any stage of the project in the current folder."""
    stages = sorted(path.stem for path in Path("stages").glob("*.py") if not path.name.startswith("_"))
    if not stages:
        raise ArtifactError("stages", "not found", "run golf campaign in the folder that holds dvc.yaml")
    return sorted({file for stage in stages for file in source_deps.list_stage_sources(stage, Path())})


def hash_code(files: Iterable[str], read: Callable[[str], bytes]) -> dict[str, str]:
    """Return the sha256 of each source file; "missing" for one that ``read`` does not find."""
    return {file: _hash_or_missing(file, read) for file in files}


def _hash_or_missing(file: str, read: Callable[[str], bytes]) -> str:
    try:
        return hashlib.sha256(read(file)).hexdigest()
    except FileNotFoundError:
        return "missing"


def _hash_inputs(settings: Mapping[str, Any]) -> dict[str, str]:
    """The user's texts and tokenizer, where the settings name some."""
    paths = [Path(settings["fetch.path"])] if settings["fetch.source"] == "files" else []
    tokenizer = Path(settings["fetch.tokenizer"])
    paths += [tokenizer] if tokenizer.is_file() else []
    return {path.as_posix(): _hash_path(path) for path in paths}


def _hash_path(path: Path) -> str:
    if path.is_file():
        return io.sha256_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return io.sha256_json({file.relative_to(path).as_posix(): io.sha256_file(file) for file in files})


def make_default_name(settings: Mapping[str, Any]) -> str:
    """Return the profile's label and eight digits that stand for the settings."""
    label = re.sub(r"[^A-Za-z0-9]+", "-", str(settings["profile"])).strip("-")[:40] or "campaign"
    return f"{label}-{io.sha256_json(dict(settings))[:8]}"


def find_difference(kind: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return the first key in which two sides differ with both values, after its kind; None if there is none."""
    for key in sorted({*one, *other}):
        if key not in one or key not in other or one[key] != other[key]:
            values = " and ".join(_shorten(side.get(key, "nothing")) for side in (one, other))
            return f"{kind} {key}: {values}"
    return None


def _shorten(value: object) -> str:
    text = validation.format_value(value) if not isinstance(value, str) else value
    text = text[:12] if re.fullmatch(r"[0-9a-f]{32}(?:[0-9a-f]{32})?(?:\.dir)?", text) else text
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]}…"
