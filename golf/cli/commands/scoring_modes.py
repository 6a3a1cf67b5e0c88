"""The scoring modes as choices of an option: golf.evaluation.scoring_loop, which also names them, imports torch."""

from typing import get_args

from golf.config.sections import EvaluateConfig

__all__ = ["MODES"]

MODES: tuple[str, ...] = get_args(EvaluateConfig.__annotations__["headline"])
