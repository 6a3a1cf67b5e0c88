"""Errors that a user can cause. A message names the file or key, what was found, what is allowed, and a hint.

GolfError
├── ConfigError          params.yaml or a profile is invalid
├── InputError           the user's texts, tokenizer or shards cannot be used
├── ArtifactError        a file written by a stage, here or elsewhere, is damaged or does not fit
├── BudgetExceededError  more bytes or seconds than the limit
├── PredictorError       the predictor under evaluation violates the interface
├── DivergenceError      a number is not finite
└── UnavailableError     hardware or a library that was requested is missing
"""

__all__ = [
    "ArtifactError",
    "BudgetExceededError",
    "ConfigError",
    "DivergenceError",
    "GolfError",
    "InputError",
    "PredictorError",
    "UnavailableError",
]


class GolfError(Exception):
    """Base class of all errors that end a command with one message and without a traceback."""


class ConfigError(GolfError):
    """A key of params.yaml is unknown, missing, of the wrong type, out of range, or contradicts another key."""


class InputError(GolfError):
    """An input from the user cannot be used."""


class ArtifactError(GolfError):
    """A file is truncated, damaged, of another kind, or from another configuration.

    path: the file; problem: what is wrong with it; hint: how to repair that. The message joins the three.
    """

    def __init__(self, path: object, problem: str, hint: str = "") -> None:
        super().__init__(f"{path}: {problem}" + (f"; {hint}" if hint else ""))
        self.path = path


class PredictorError(GolfError):
    """The predictor under evaluation is missing, raises, or returns something other than its interface says."""


class BudgetExceededError(GolfError):
    """The artifact or the run exceeds its limit."""


class DivergenceError(GolfError):
    """A loss, a weight or a factorization is not finite."""


class UnavailableError(GolfError):
    """A device, backend or compiler that was requested is missing."""
