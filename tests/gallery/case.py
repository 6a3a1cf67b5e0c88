"""The description of a gallery case, and the paths of the project in which it runs."""

from dataclasses import dataclass, field

TRAIN_DIR, VAL_DIR = "artifacts/fetch/train", "artifacts/fetch/val"
ARTIFACT_PATH = "artifacts/own/bigrams.safetensors"


@dataclass(frozen=True)
class Violation:
    """A way to break the rules.

    family: its number in the catalog, 0 without one. threads: pull requests and issues, as "#1376 #1485".
    expected_checks: the checks that must report ``expected_status``: FAIL; UNRULED where the contest has not decided;
    NOT-RUN where the facts are unknown. error_pattern: matches the error of a case that is refused before it is scored.
    settings: dotted params keys.
    """

    family: int
    name: str
    threads: str
    expected_checks: tuple[str, ...]
    expected_status: str = "FAIL"
    error_pattern: str = ""
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Compliant:
    """A predictor that breaks no rule, so no check may report it. settings: dotted params keys."""

    name: str
    threads: str = ""
    settings: dict[str, object] = field(default_factory=dict)
