"""params.yaml as one frozen dataclass: the one effective configuration, with no defaults anywhere but in the file.

Read with ruamel.yaml (YAML 1.2), because DVC writes ``lr: 1e-05`` and PyYAML would read that as text.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from golf.config import validation
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

PARAMS_FILE = Path("params.yaml")
_CONTEXT_MULTIPLES = (  # keys that count tokens in whole windows of model.context_length
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
    """The whole file."""

    profile: str  # a label; switch with: cp profiles/<name>.yaml params.yaml
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

    def validate(self):
        context = self.model.context_length
        for key in _CONTEXT_MULTIPLES:
            section, name = key.split(".")
            value = getattr(getattr(self, section), name)
            if value % context:
                yield key, f"{value} is no multiple of model.context_length = {context}"
        for key, stride in (("ttt.stride", self.ttt.stride), ("evaluate.stride", self.evaluate.stride)):
            if context % stride:
                yield key, f"{stride} does not divide model.context_length = {context}"
        if self.prequant.freeze_blocks > self.model.n_layers:
            yield (
                "prequant.freeze_blocks",
                f"{self.prequant.freeze_blocks} is more than model.n_layers = {self.model.n_layers}",
            )
        if self.quantize.grid == "row_column" and not self.calibrate.sensitivity_tokens:
            yield "calibrate.sensitivity_tokens", "0 leaves quantize.grid = row_column without a measure; take some"
        if self.train.recurrence_from == 1 and self.model.recur_passes > 1:
            yield "train.recurrence_from", "1 would never activate the loop; lower it, or set model.recur_passes to 1"


def load_config(path: Path = PARAMS_FILE) -> Config:
    """All of params.yaml, checked. Raises ParamsError with every problem in one message."""
    from ruamel.yaml import YAML

    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; cp profiles/laptop.yaml {path}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error})") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from None
    try:
        raw = YAML(typ="safe", pure=True).load(text)
    except Exception as error:  # a malformed date or tag leaves ruamel as ValueError, KeyError, IndexError, …
        raise ConfigError(f"{path}: not valid YAML: {_format_yaml_error(error)}") from None
    config, problems = validation.from_mapping(Config, raw, "", _index_keys(Config))
    if problems:
        raise ConfigError(
            f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)}\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + f"\nMend {path} (a value given with -S stays in it), then run again."
        )
    return config


def _format_yaml_error(error: Exception) -> str:
    """Where a YAML reader stopped and why, in one line."""
    mark = getattr(error, "problem_mark", None)
    location = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    reason = getattr(error, "problem", None) or str(error) or type(error).__name__
    return location + " ".join(reason.split())


def load_sections(*keys: str, path: Path = PARAMS_FILE):
    """The named sections (``"train"``) or single keys (``"quantize.weights"``), in that order.

    The whole file is checked, but only what is named here may influence a stage; a test holds these literals equal
    to what dvc.yaml declares.
    """
    config = load_config(path)
    selected = []
    for key in keys:
        value = config
        for part in key.split("."):
            value = getattr(value, part)
        selected.append(value)
    return selected[0] if len(selected) == 1 else tuple(selected)


def _index_keys(cls: type) -> dict[str, str]:
    """Dotted key by last part, of the first section that has it, for hints at keys put into the wrong section."""
    key_index = {}
    for section in dataclasses.fields(cls):
        if dataclasses.is_dataclass(section.type):
            key_index = {
                field.name: f"{section.name}.{field.name}" for field in dataclasses.fields(section.type)
            } | key_index
    return key_index
