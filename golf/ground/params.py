"""params.yaml as one frozen dataclass: the one effective configuration, with no defaults anywhere but in the file.

Read with ruamel.yaml (YAML 1.2), because DVC writes ``lr: 1e-05`` and PyYAML would read that as text.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from golf.ground import schema
from golf.ground.errors import ParamsError
from golf.ground.sections import Calibrate, Compress, Ema, Evaluate, Fetch, Hub, Prequant, Quantize, Train, Ttt
from golf.ground.shape import Shape

FILE = Path("params.yaml")
WHOLE_WINDOWS = (  # keys that count tokens in whole windows of model.context
    "train.micro_tokens",
    "calibrate.micro_tokens",
    "calibrate.sensitivity_tokens",
    "ema.score_tokens",
    "ttt.score_tokens",
    "ttt.batch_tokens",
    "prequant.batch_tokens",
    "prequant.chunk_tokens",
    "evaluate.score_tokens",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """The whole file."""

    profile: str  # a label; switch with: cp profiles/<name>.yaml params.yaml
    fetch: Fetch
    hub: Hub
    model: Shape
    train: Train
    ema: Ema
    ttt: Ttt
    prequant: Prequant
    calibrate: Calibrate
    quantize: Quantize
    compress: Compress
    evaluate: Evaluate

    def problems(self):
        context = self.model.context
        for key in WHOLE_WINDOWS:
            section, name = key.split(".")
            value = getattr(getattr(self, section), name)
            if value % context:
                yield key, f"{value} is no multiple of model.context = {context}"
        for key, stride in (("ttt.stride", self.ttt.stride), ("evaluate.stride", self.evaluate.stride)):
            if context % stride:
                yield key, f"{stride} does not divide model.context = {context}"
        if self.prequant.freeze > self.model.layers:
            yield "prequant.freeze", f"{self.prequant.freeze} is more than model.layers = {self.model.layers}"
        if self.quantize.grid == "column" and not self.calibrate.sensitivity_tokens:
            yield "calibrate.sensitivity_tokens", "0 leaves quantize.grid = column without a measure; take some"
        if self.train.loop_at == 1 and self.model.loop_passes > 1:
            yield "train.loop_at", "1 would never activate the loop; lower it, or set model.loop_passes to 1"


def read(path: Path = FILE) -> Params:
    """All of params.yaml, checked. Raises ParamsError with every problem in one message."""
    from ruamel.yaml import YAML

    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path}: not found; cp profiles/laptop.yaml {path}") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: not UTF-8 text ({error})") from None
    except OSError as error:
        raise ParamsError(f"{path}: can't be read ({error.strerror})") from None
    try:
        tree = YAML(typ="safe", pure=True).load(text)
    except Exception as error:  # a malformed date or tag leaves ruamel as ValueError, KeyError, IndexError, …
        raise ParamsError(f"{path}: not valid YAML: {complaint(error)}") from None
    made, problems = schema.build(Params, tree, "", known_keys(Params))
    if problems:
        raise ParamsError(
            f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)}\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + f"\nMend {path} (a value given with -S stays in it), then run again."
        )
    return made


def complaint(error: Exception) -> str:
    """Where a YAML reader stopped and why, in one line."""
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    why = getattr(error, "problem", None) or str(error) or type(error).__name__
    return where + " ".join(why.split())


def load(*names: str, path: Path = FILE):
    """The named sections (``"train"``) or single keys (``"quantize.weights"``), in that order.

    The whole file is checked, but only what is named here may influence a stage; a test holds these literals equal
    to what dvc.yaml declares.
    """
    whole = read(path)
    found = []
    for name in names:
        value = whole
        for part in name.split("."):
            value = getattr(value, part)
        found.append(value)
    return found[0] if len(found) == 1 else tuple(found)


def known_keys(cls: type) -> dict[str, str]:
    """Dotted key by last part, of the first section that has it, for hints at keys put into the wrong section."""
    known = {}
    for section in dataclasses.fields(cls):
        if dataclasses.is_dataclass(section.type):
            known = {field.name: f"{section.name}.{field.name}" for field in dataclasses.fields(section.type)} | known
    return known
