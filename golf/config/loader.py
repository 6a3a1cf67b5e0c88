"""Load params.yaml into one frozen dataclass. It is the whole configuration; the code has no defaults."""

import dataclasses
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.config import renamed_keys, validation, yaml_reader
from golf.config.adaptation import LoRAConfig, PhasedConfig
from golf.config.model import ModelConfig
from golf.config.model_options import check_options
from golf.config.sections import (
    CalibrateConfig,
    CompressConfig,
    EvaluateConfig,
    FetchConfig,
    HubConfig,
    MemoryConfig,
    PrequantTTTConfig,
    QuantizeConfig,
    TTTConfig,
)
from golf.config.training import EMAConfig, TrainConfig
from golf.config.value_types import NonEmptyText
from golf.errors import ConfigError

__all__ = ["PARAMS_FILE", "Config", "load_config", "load_sections"]

PARAMS_FILE = Path("params.yaml")
_MAX_SHOWN_PROBLEMS = 20
_MAX_PROBLEM_CHARS = 300  # of one problem; only one that quotes a long value is longer
_UNKNOWN_KEY, _OR_NULL = ": unknown key", " or null, got "  # parts of golf.config.validation's messages
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

    profile: NonEmptyText  # a label; change the profile with: cp profiles/<name>.yaml params.yaml
    fetch: FetchConfig
    hub: HubConfig
    model: ModelConfig
    train: TrainConfig
    ema: EMAConfig
    ttt: TTTConfig
    lora: LoRAConfig
    phased: PhasedConfig
    memory: MemoryConfig
    prequant: PrequantTTTConfig
    calibrate: CalibrateConfig
    quantize: QuantizeConfig
    compress: CompressConfig
    evaluate: EvaluateConfig

    def validate(self) -> Iterator[tuple[str, str]]:
        """Yield contradictions between sections, and between the model's options."""
        yield from ((f"model.{key}", message) for key, message in check_options(self.model))
        context = self.model.context_length
        for key in _CONTEXT_MULTIPLES:
            section, name = key.split(".")
            value = getattr(getattr(self, section), name)
            if value % context:
                yield key, f"must be a multiple of model.context_length = {context}, got {value}"
        for key, stride in (("ttt.stride", self.ttt.stride), ("evaluate.stride", self.evaluate.stride)):
            if context % stride:
                yield key, f"must divide model.context_length = {context}, got {stride}"
        if self.ttt.method == "phased" and self.phased.chunk_tokens % self.ttt.batch_tokens:
            needed = f"must be a multiple of ttt.batch_tokens = {self.ttt.batch_tokens}"
            yield "phased.chunk_tokens", f"{needed}, got {self.phased.chunk_tokens}"
        if self.ttt.freeze_blocks >= self.model.n_layers:
            needed = f"must be below model.n_layers = {self.model.n_layers}"
            yield "ttt.freeze_blocks", f"{needed}, got {self.ttt.freeze_blocks}"
        if self.prequant.freeze_blocks > self.model.n_layers:
            yield (
                "prequant.freeze_blocks",
                f"must be at most model.n_layers = {self.model.n_layers}, got {self.prequant.freeze_blocks}",
            )
        if self.quantize.grid == "row_column" and not self.calibrate.sensitivity_tokens:
            yield "calibrate.sensitivity_tokens", "must be above 0 with quantize.grid = row_column, got 0"
        if self.quantize.coding == "trellis" and self.compress.codec != "ans":
            yield "quantize.coding", f"must be scalar with compress.codec = {self.compress.codec}, got trellis"
        if self.compress.count == "bundle" and self.quantize.weights != "ema":
            yield "compress.count", f"must be predictor with quantize.weights = {self.quantize.weights}"
        if self.compress.count == "bundle" and self.quantize.refine_steps:
            yield "quantize.refine_steps", f"must be 0 with compress.count = bundle, got {self.quantize.refine_steps}"
        if self.quantize.refine_steps and (self.quantize.rotate is not None or self.quantize.lqer is not None):
            got = self.quantize.refine_steps
            yield "quantize.refine_steps", f"must be 0 with quantize.rotate or quantize.lqer, got {got}"
        last_entry = (self.train.context_schedule or ((context,),))[-1]
        if last_entry and last_entry[0] != context:
            yield "train.context_schedule", f"must end with model.context_length = {context}, got {last_entry[0]:g}"
        if self.train.recurrence_from == 1 and self.model.recur_passes > 1:
            yield (
                "train.recurrence_from",
                "must be below 1 with model.recur_passes above 1, or recurrence never starts",
            )


def load_config(path: Path = PARAMS_FILE) -> Config:
    """Return all of params.yaml, validated.

    Raises ConfigError with the first 20 problems, and how many more there are.
    """
    raw = yaml_reader.read_yaml(Path(path))
    config: Config
    config, problems = validation.from_mapping(Config, raw, "")
    problems = renamed_keys.explain_renames(problems, raw)
    if problems:
        n_hidden = len(problems) - _MAX_SHOWN_PROBLEMS
        raise ConfigError(
            f"{path}: {len(problems):,} problem{'s' * (len(problems) > 1)}\n"
            + "\n".join(f"  {_format_problem(problem)}" for problem in problems[:_MAX_SHOWN_PROBLEMS])
            + (f"\n  and {n_hidden:,} more" if n_hidden > 0 else "")
            + f"\nCorrect {path} and run again. Note that dvc exp run -S writes its values to this file."
        )
    return config


def _format_problem(problem: str) -> str:
    """A problem of ``golf.config.validation`` with its hint, cut where it quotes a long value."""
    if problem.endswith(_UNKNOWN_KEY):
        return problem + _suggest_key(problem.removesuffix(_UNKNOWN_KEY))
    if len(problem) > _MAX_PROBLEM_CHARS:
        problem = f"{problem[:_MAX_PROBLEM_CHARS]}..."
    if _OR_NULL in problem:  # and a quoted value: 'None', 'null' or ''
        key = problem.partition(":")[0]
        return problem + (f"; write null without quotes, as in -S {key}=null" if problem.endswith("'") else "")
    return problem + ("; null is not allowed here" if problem.endswith((" got 'None'", " got nothing (null)")) else "")


def _suggest_key(dotted: str) -> str:
    """A hint with the key of the same section that is most similar, else of another; empty if none is similar."""
    section, _, name = dotted.partition(".")
    section_type = {field.name: field.type for field in dataclasses.fields(Config)}.get(section)
    if not name or not dataclasses.is_dataclass(section_type):
        name, own_keys = dotted, {field.name: field.name for field in dataclasses.fields(Config)}
    else:
        own_keys = {field.name: f"{section}.{field.name}" for field in dataclasses.fields(section_type)}
    for keys in (own_keys, _index_keys(Config)):
        if matches := difflib.get_close_matches(name, list(keys), n=1):
            return f"; did you mean {keys[matches[0]]}?"
    return ""


def load_sections(*keys: str, path: Path = PARAMS_FILE) -> Any:
    """Return the named sections (``"train"``) and single keys (``"quantize.weights"``), as a tuple in that order.

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
