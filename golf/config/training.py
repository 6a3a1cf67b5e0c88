"""The sections ``train`` and ``ema`` of params.yaml."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from golf.config.execution import ExecutionConfig, RankCount, check_batch
from golf.config.validation import Decay, Fraction, Range
from golf.config.value_types import Count, CountOrZero, GradClip, LearningRate, Seconds, WeightDecay

__all__ = ["EMAConfig", "TrainConfig"]

_MAX_POLAR_EXPRESS_STEPS = 5  # the coefficients are known for this many iterations
_MAX_EMA_DECAYS = 64  # each is a copy of the weights
_MAX_CONTEXTS = 4  # with and without recurrence torch compiles two graphs for each, and allows eight


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(ExecutionConfig):
    """The training run: budget, batch, optimizers, averages, logging and resuming."""

    ranks: RankCount  # processes, over all machines
    seed: Annotated[int, Range(low=0, high=2**63 - 1)]  # of the initial weights and the data order
    limit_s: Seconds | None  # seconds for training and calibration together; null: steps alone
    reserve_s: Annotated[float, Range(low=0, high=100_000_000)]  # of these, seconds kept for calibration
    steps: Count | None  # optimizer steps; null: seconds alone
    batch_tokens: Count  # tokens per step, over all ranks
    micro_batch_tokens: Count  # tokens that one rank holds at a time
    # shuffled: windows, by the seed | documents: whole documents, by the seed, then their windows |
    # compressible_first, compressible_last: documents by how far zlib compresses them, docs/references.md#data-order
    data_order: Literal["shuffled", "documents", "compressible_first", "compressible_last"]
    # [tokens, progress] pairs: the context length up to that progress, docs/references.md#progressive-context; the
    # last is [model.context_length, 1]; null: model.context_length throughout
    context_schedule: tuple[tuple[Annotated[float, Range(low=0, high=1 << 20)], ...], ...] | None
    context_warmup_steps: CountOrZero  # steps over which the learning rates rise again after a switch of the context
    recurrence_from: Fraction  # fraction of the run at which depth recurrence starts
    warmdown_frac: Fraction  # last share of the run, over which the learning rates fall
    min_lr_frac: Fraction  # share of the learning rates left at the end
    muon_lr: LearningRate  # learning rate of Muon, for matrices
    muon_weight_decay: WeightDecay  # weight decay of matrices
    embed_lr: LearningRate  # learning rate of AdamW for the embedding
    embed_weight_decay: WeightDecay  # weight decay of the embedding
    scalar_lr: LearningRate  # learning rate of AdamW for vectors and scalars
    scalar_weight_decay: WeightDecay  # weight decay of vectors and scalars
    # of every weight decay; linear: to 0 at the end | cautious: only where a weight's update shrinks it,
    # docs/references.md#cautious-decay
    decay_schedule: Literal["constant", "linear", "cautious"]
    muon_momentum: Decay  # momentum of Muon, after its warm-up
    muon_momentum_start: Decay  # momentum of Muon, at the first step
    muon_momentum_warmup_steps: CountOrZero  # steps over which Muon's momentum rises
    ns_steps: Annotated[int, Range(low=1, high=100)]  # Newton–Schulz iterations of Muon; polar_express has at most five
    # of Newton–Schulz: docs/references.md#muon | docs/references.md#polar-express
    ns_coefficients: Literal["quintic", "polar_express"]
    normuon_beta2: Decay | None  # decay of the second moment of an update's rows, docs/references.md#normuon; null: off
    beta1: Decay  # AdamW's decay of the first moment
    beta2: Decay  # AdamW's decay of the second moment
    eps: Annotated[float, Range(low=1e-30, high=1)]  # AdamW's epsilon
    grad_clip: GradClip | None  # largest global gradient norm; null: no clipping
    # step of the look-ahead at the peak learning rate, docs/references.md#ema-nesterov; null: no look-ahead
    ema_nesterov_beta: Fraction | None
    ema_nesterov_gamma: Decay  # decay of the average of past changes, along which EMA-Nesterov looks ahead
    # share of the MLP rows, those with the largest norms, that a training step drops, docs/references.md#norm-dropout
    norm_dropout_frac: Annotated[float, Range(low=0, high=1, open_high=True)]
    # steps of the compile warm-up on random tokens, undone before training
    compile_warmup_steps: Annotated[int, Range(low=0, high=1000)]
    ema_decays: tuple[Decay, ...]  # weight averages tracked exactly
    # two basis decays whose snapshots give other decays afterwards, docs/references.md#ema-posthoc
    ema_basis_decays: tuple[Decay, ...]
    ema_snapshots: Annotated[int, Range(low=1, high=64)]  # of each basis average, 4 bytes per parameter each
    ema_snapshot_every: Count  # steps between two snapshots
    checkpoint_every: Count | None  # steps between two checkpoints; null: none
    dev_every: Count | None  # steps between two measurements of dev's loss; null: none
    dev_tokens: Count  # tokens of dev whose loss is measured
    log_every: Count  # steps between two rows of log.csv
    resume: bool  # continue an interrupted run with the same inputs; false: start afresh
    resume_save_s: Seconds  # seconds between two saved states

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.ns_coefficients == "polar_express" and self.ns_steps > _MAX_POLAR_EXPRESS_STEPS:
            yield "ns_steps", f"must be at most {_MAX_POLAR_EXPRESS_STEPS} with polar_express, got {self.ns_steps}"
        if self.limit_s is None and self.steps is None:
            yield "steps", "steps and limit_s are both null, so training would never end; set one of them"
        if self.limit_s is not None and self.reserve_s >= self.limit_s:
            yield "reserve_s", f"must be below limit_s = {self.limit_s:g}, got {self.reserve_s:g}"
        yield from check_batch(self.batch_tokens, self.micro_batch_tokens * self.ranks)
        if self.context_schedule is not None:
            yield from _check_context_schedule(self.context_schedule, self.micro_batch_tokens)
        if len(self.ema_basis_decays) != 2 or len(set(self.ema_basis_decays)) != 2:
            yield "ema_basis_decays", f"must be two different decays, got {list(self.ema_basis_decays)}"
        if len(self.ema_decays) > _MAX_EMA_DECAYS:
            yield "ema_decays", f"must have at most {_MAX_EMA_DECAYS} decays, got {len(self.ema_decays):,}"
        elif len(set(self.ema_decays)) != len(self.ema_decays):
            yield "ema_decays", f"must not contain a decay twice, got {list(self.ema_decays)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EMAConfig(ExecutionConfig):
    """The average of the weights that the next stages use."""

    decay: Decay  # of the weight average that the next stages use
    # share of the average in their weights, docs/references.md#tail-ema; the rest is the last step's weights
    share: Fraction
    eval_batch_tokens: Count  # tokens scored at a time


def _check_context_schedule(
    entries: tuple[tuple[float, ...], ...], micro_batch_tokens: int
) -> Iterator[tuple[str, str]]:
    shown = [list(entry) for entry in entries]
    if not 0 < len(entries) <= _MAX_CONTEXTS or any(len(entry) != 2 for entry in entries):
        yield "context_schedule", f"must be 1 to {_MAX_CONTEXTS} pairs of tokens and progress, got {shown}"
        return
    tokens, until = zip(*entries, strict=True)
    if any(n != int(n) or n < 2 or micro_batch_tokens % n for n in tokens):
        yield (
            "context_schedule",
            f"its tokens must be whole numbers of at least 2 that divide micro_batch_tokens = {micro_batch_tokens}, "
            f"got {shown}",
        )
    if list(until) != sorted(set(until)) or until[0] <= 0 or until[-1] != 1:
        yield "context_schedule", f"its progress must rise from above 0 to 1, got {shown}"
