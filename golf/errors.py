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

import re

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

_STAGE_OUTPUT = re.compile(r"(?:\S*/)?artifacts/(?!plots|prove)([a-z]+)(?:/\S*)?")


class GolfError(Exception):
    """Base class of all errors that end a command with one message and without a traceback."""


class ConfigError(GolfError):
    """A key of params.yaml is unknown, missing, of the wrong type, out of range, or contradicts another key."""


class InputError(GolfError):
    """An input from the user cannot be used."""


class ArtifactError(GolfError):
    """A file is truncated, damaged, of another kind, or from another configuration.

    path: the file; problem: what is wrong with it; hint: how to repair that; None: by the stage of which it is an
    output, if it is one. The message joins the three.
    """

    def __init__(self, path: object, problem: str, hint: str | None = None) -> None:
        hint = _describe_repair(str(path)) if hint is None else hint
        super().__init__(f"{path}: {problem}" + (f"; {hint}" if hint else ""))
        self.problem = problem


def _describe_repair(path: str) -> str:
    """``dvc repro`` takes an output of a stage from the cache or makes it, whether it is missing or damaged."""
    output = _STAGE_OUTPUT.fullmatch(path)
    return f"restore it or make it again with: dvc repro {output[1]}" if output else ""


class PredictorError(GolfError):
    """The predictor under evaluation is missing, raises, or returns something other than its interface says."""


class BudgetExceededError(GolfError):
    """The artifact or the run exceeds its limit."""


class DivergenceError(GolfError):
    """A loss, a weight or a factorization is not finite."""


class UnavailableError(GolfError):
    """A device, backend or compiler that was requested is missing."""
