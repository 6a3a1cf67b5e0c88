"""What a file of the gallery says of itself, and where things lie in the project that it is tried in."""

from dataclasses import dataclass, field

TRAIN, VAL = "artifacts/fetch/train", "artifacts/fetch/val"
ARTIFACT = "artifacts/own/bigrams.safetensors"


@dataclass(frozen=True)
class Cheat:
    """family: its number in the catalogue, 0 for a trick without one; threads: pull requests and issues.

    caught: the checks that must find it, with ``status``; UNRULED for what nobody has ruled on, NOT-RUN for what no
    one can know. refused: words of the message where it gets no further than the door. settings: dotted params keys.
    """

    family: int
    name: str
    threads: str
    caught: tuple[str, ...]
    status: str = "FAIL"
    refused: str = ""
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Innocent:
    """What no check may accuse. settings: dotted params keys."""

    name: str
    threads: str = ""
    settings: dict[str, object] = field(default_factory=dict)
