"""Load params.yaml into one frozen dataclass. It is the whole configuration; the code has no defaults.

The reader is ruamel.yaml (YAML 1.2), because DVC writes ``lr: 1e-05``, which PyYAML (YAML 1.1) reads as text.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.config import renamed_keys, validation
from golf.config.model import ModelConfig
from golf.config.sections import (
    CalibrateConfig,
    CompressConfig,
    EMAConfig,
    EvaluateConfig,
    FetchConfig,
    HubConfig,
    PrequantTTTConfig,
    QuantizeConfig,
    TrainConfig,
    TTTConfig,
)
from golf.errors import ConfigError

__all__ = ["PARAMS_FILE", "Config", "load_config", "load_sections"]

PARAMS_FILE = Path("params.yaml")
_CONTEXT_MULTIPLES = (  # keys whose tokens must fill whole windows of model.context_length
    "train.micro_batch_tokens",
    "calibrate.micro_batch_tokens",
    "calibrate.sensitivity_tokens",
    "ema.eval_batch_tokens",
    "ttt.eval_batch_tokens",
    "ttt.batch_tokens",
    "prequant.batch_tokens",
    "prequant.chunk_tokens",
    "evaluate.eval_batch_tokens",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """All of params.yaml."""

    profile: str  # a label; change the profile with: cp profiles/<name>.yaml params.yaml
    fetch: FetchConfig
    hub: HubConfig
    model: ModelConfig
    train: TrainConfig
    ema: EMAConfig
    ttt: TTTConfig
    prequant: PrequantTTTConfig
    calibrate: CalibrateConfig
    quantize: QuantizeConfig
    compress: CompressConfig
    evaluate: EvaluateConfig

    def validate(self) -> Iterator[tuple[str, str]]:
        """Contradictions between sections."""
        context = self.model.context_length
        for key in _CONTEXT_MULTIPLES:
            section, name = key.split(".")
            value = getattr(getattr(self, section), name)
            if value % context:
                yield key, f"must be a multiple of model.context_length = {context}, got {value}"
        for key, stride in (("ttt.stride", self.ttt.stride), ("evaluate.stride", self.evaluate.stride)):
            if context % stride:
                yield key, f"must divide model.context_length = {context}, got {stride}"
        if self.prequant.freeze_blocks > self.model.n_layers:
            yield (
                "prequant.freeze_blocks",
                f"must be at most model.n_layers = {self.model.n_layers}, got {self.prequant.freeze_blocks}",
            )
        if self.quantize.grid == "row_column" and not self.calibrate.sensitivity_tokens:
            yield "calibrate.sensitivity_tokens", "must be above 0 with quantize.grid = row_column, got 0"
        if self.train.recurrence_from == 1 and self.model.recur_passes > 1:
            yield (
                "train.recurrence_from",
                "must be below 1 with model.recur_passes above 1, or recurrence never starts",
            )


def load_config(path: Path = PARAMS_FILE) -> Config:
    """All of params.yaml, validated. Raises ConfigError with every problem in one message."""
    from ruamel.yaml import YAML

    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; cp profiles/laptop.yaml {path}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    try:
        raw = YAML(typ="safe", pure=True).load(text)
    except Exception as error:  # a malformed date or tag leaves ruamel as ValueError, KeyError, IndexError, …
        raise ConfigError(f"{path}: not valid YAML: {_format_yaml_error(error)}") from None
    config: Config
    config, problems = validation.from_mapping(Config, raw, "", _index_keys(Config))
    problems = renamed_keys.explain_renames(problems, raw)
    if problems:
        raise ConfigError(
            f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)}\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + f"\nCorrect {path} and run again. Note that dvc exp run -S writes its values to this file."
        )
    return config


def _format_yaml_error(error: Exception) -> str:
    """The position and reason of a YAML error, in one line."""
    mark = getattr(error, "problem_mark", None)
    location = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    reason = getattr(error, "problem", None) or str(error) or type(error).__name__
    return location + " ".join(reason.split())


def load_sections(*keys: str, path: Path = PARAMS_FILE) -> Any:
    """The named sections (``"train"``) and single keys (``"quantize.weights"``), as a tuple in that order.

    With one name, its value alone. The whole file is validated, but only what is named here may influence a stage; a
    test keeps these names equal to the params that dvc.yaml declares. Raises ConfigError.
    """
    config = load_config(path)
    selected = []
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        selected.append(value)
    return selected[0] if len(selected) == 1 else tuple(selected)


def _index_keys(cls: type) -> dict[str, str]:
    """Every dotted key by its last part, for hints about keys in the wrong section; the first section wins."""
    key_index: dict[str, str] = {}
    for section in dataclasses.fields(cls):
        if dataclasses.is_dataclass(section.type):
            key_index = {
                field.name: f"{section.name}.{field.name}" for field in dataclasses.fields(section.type)
            } | key_index
    return key_index
