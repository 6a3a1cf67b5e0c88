"""What a predictor is told of a pass: the arguments of its ``reset``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from golf.inference.interface import ScoringSession

if TYPE_CHECKING:
    from golf.config.adaptation import TTTPlan
    from golf.config.sections import MemoryConfig

__all__ = ["PassSettings"]


@dataclass(frozen=True, kw_only=True)
class PassSettings:
    """The arguments of ``golf.inference.interface.ScoringSession.reset`` for a pass."""

    stride: int
    ttt_cfg: "TTTPlan | None"
    memory_cfg: "MemoryConfig | None"
    n_chunks: int
    order: str

    @classmethod
    def for_mode(
        cls,
        mode: str,
        *,
        n_chunks: int,
        ttt_cfg: "TTTPlan",
        memory_cfg: "MemoryConfig | None",
        stride: int,
        context_length: int,
        order: str,
    ) -> Self:
        """Return the settings of a pass in one scoring mode. stride: that of the mode ``sliding``."""
        strides = {"plain": context_length, "sliding": stride, "ttt": ttt_cfg.stride}
        is_adapted = mode == "ttt"
        return cls(
            stride=strides[mode],
            ttt_cfg=ttt_cfg if is_adapted else None,
            memory_cfg=memory_cfg if is_adapted else None,
            n_chunks=n_chunks,
            order=order,
        )

    def begin_pass(self, predictor: ScoringSession) -> None:
        """Begin a pass of ``predictor`` with these settings."""
        predictor.reset(
            stride=self.stride,
            ttt_cfg=self.ttt_cfg,
            memory_cfg=self.memory_cfg,
            n_chunks=self.n_chunks,
            order=self.order,
        )
