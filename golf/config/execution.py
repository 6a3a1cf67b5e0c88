"""What every section of params.yaml that runs a model has in common."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from golf.config.validation import Range

__all__ = ["ExecutionConfig", "RankCount", "check_batch"]

RankCount = Annotated[int, Range(low=1, high=4096)]
_AttentionBackend = Literal["auto", "flash4", "flash3", "flash2", "sdpa"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionConfig:
    """How a stage runs its model. Every stage has its own keys: changing one stage's device reruns only that stage."""

    device: Literal["auto", "cpu", "cuda"]  # auto: a GPU where there is one
    attention: _AttentionBackend  # attention kernel; auto: the fastest that the device has
    compile: Literal["auto", "on", "off"]  # torch.compile; auto: where the compiler works, tried once
    # of forward and backward passes; auto: bfloat16 on a GPU, and on a CPU that multiplies it 1.3 times as fast
    dtype: Literal["auto", "float32", "bfloat16"]


def check_batch(batch_tokens: int, held_tokens: int) -> Iterator[tuple[str, str]]:
    """Yield a contradiction unless the ranks' micro-batches fill a batch."""
    if batch_tokens % held_tokens:
        yield "batch_tokens", f"must be a multiple of micro_batch_tokens x ranks = {held_tokens}, got {batch_tokens}"
