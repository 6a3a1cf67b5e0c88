"""What a file of the gallery says of itself, and where things lie in the project that it is tried in."""

from dataclasses import dataclass, field

TRAIN_DIR, VAL_DIR = "artifacts/fetch/train", "artifacts/fetch/val"
ARTIFACT_PATH = "artifacts/own/bigrams.safetensors"


@dataclass(frozen=True)
class Violation:
    """family: its number in the catalogue, 0 for a trick without one; threads: pull requests and issues.

    caught: the checks that must find it, with ``status``; UNRULED for what nobody has ruled on, NOT-RUN for what no
    one can know. refused: words of the message where it gets no further than the door. settings: dotted params keys.
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
    """What no check may accuse. settings: dotted params keys."""

    name: str
    threads: str = ""
    settings: dict[str, object] = field(default_factory=dict)
