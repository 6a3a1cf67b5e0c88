"""Define the result of one check of ``golf doctor``."""

from dataclasses import dataclass

from golf.config.execution import ExecutionConfig
from golf.config.loader import Config

__all__ = ["NOTE", "OK", "PROBLEM", "MachineFinding", "list_execution_sections", "split_message"]

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class MachineFinding:
    """status: OK, NOTE (make run works, perhaps slower or with fewer proofs) or PROBLEM (make run can't work).

    check: its name. state: of this machine, in words. hint: what to do about it; None where nothing is to be done.
    """

    check: str
    status: str
    state: str
    hint: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """Return it as JSON, whose keys docs/cli.md#json promises to keep."""
        return {"check": self.check, "status": self.status, "found": self.state, "cure": self.hint}

    def render(self) -> str:
        """Return one line."""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.status:<8} {self.check:<10} {self.state}{hint}"


def list_execution_sections(cfg: Config | None) -> dict[str, ExecutionConfig]:
    """Return the sections of params.yaml that run a model, by name; none without a configuration."""
    names = () if cfg is None else ("train", "ema", "ttt", "calibrate", "evaluate")
    sections: dict[str, ExecutionConfig] = {name: getattr(cfg, name) for name in names}
    return sections


def split_message(error: Exception) -> tuple[str, str | None]:
    """Return what an error says is wrong, and its hint, on one line each."""
    problem, _, hint = " ".join(str(error).split()).partition("; ")
    return problem, hint or None
