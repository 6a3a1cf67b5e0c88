"""The errors that a user can cause. Each message says what, what was got, what is allowed, and the cure.

GolfError
├── ParamsError    params.yaml or a profile
├── BadInput       the user's texts, tokenizers, shards
├── BadArtifact    a file that a stage or another machine wrote
├── OverBudget     more bytes or seconds than the limit
├── BadMethod      the method under evaluation breaks its contract
├── Diverged       numbers stopped being numbers
└── Unavailable    hardware or a library that was asked for by name is not here
"""


class GolfError(Exception):
    """Base of all errors that end a command with one message and no traceback."""


class ConfigError(GolfError):
    """A key of params.yaml is unknown, missing, mistyped, out of range or contradicts another."""


class InputError(GolfError):
    """Something that the user handed in can't be used."""


class ArtifactError(GolfError):
    """A file is cut short, damaged, of another kind, or of another configuration."""

    def __init__(self, path, problem: str, hint: str = ""):
        super().__init__(f"{path}: {problem}" + (f"; {hint}" if hint else ""))
        self.path = path


class PredictorError(GolfError):
    """The method under evaluation is missing, raised, or answered with something else than was asked."""


class BudgetExceededError(GolfError):
    """The artifact or the run is larger than its limit."""


class DivergenceError(GolfError):
    """A loss, a weight or a factorisation is no longer finite."""


class UnavailableError(GolfError):
    """A device, a backend or a compiler that was named is missing."""
