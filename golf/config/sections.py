"""The sections of params.yaml as frozen dataclasses: what each key is, what it may be, and what can't go together."""

from dataclasses import dataclass
from typing import Annotated, Literal

from golf.config.validation import Decay, Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Range

_AttentionBackend = Literal["auto", "flash4", "flash3", "flash2", "sdpa"]
_BitWidth = Annotated[int, Range(low=2, high=8)]
_Beta = Decay
_MAX_POLAR_EXPRESS_STEPS = 5  # iterations whose coefficients are known
_RankCount = Annotated[int, Range(low=1, high=4096)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionConfig:
    """How a stage runs its model. Each stage has its own, so that judging on one GPU reruns nothing before it."""

    device: Literal["auto", "cpu", "cuda"]
    attention: _AttentionBackend
    compile: Literal["auto", "on", "off"]
    dtype: Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchConfig:
    """Where the text comes from and how it becomes tokens."""

    source: Literal["stdlib", "files", "hub"]
    path: str  # folder of the user's own texts
    tokenizer: str  # train: learn one on the train split; else the path of a SentencePiece model
    transform: Literal["none", "caseops"]  # of the text before it is tokenised, and undone exactly
    val_percent: Annotated[float, Range(low=0, high=50, open_low=True)]
    dev_percent: Annotated[float, Range(low=0, high=50, open_low=True)]
    shard_tokens: Annotated[int, Range(low=16, high=1_000_000_000)]


@dataclass(frozen=True, kw_only=True, slots=True)
class HubConfig:
    """The challenge's published exports; read where fetch.source is hub."""

    repo: str  # owner/name of the data set
    revision: str  # a commit, best; a branch or tag is resolved to one, which the manifest then holds
    variant: str  # sp1024 | sp4096 | sp8192 | sp8192_lossless_caps_caseops_v1_reserved
    train_shards: PositiveInt  # the first so many; all of val always
    root: str | None  # folder outside the workspace for train's shards; null: in runs/hub, linked into artifacts
    workers: Annotated[int, Range(low=1, high=64)]  # downloads at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(ExecutionConfig):
    """The training run: budget, batch, optimisers, averages."""

    ranks: _RankCount
    seed: NonNegativeInt
    limit_s: PositiveFloat | None  # seconds allowed for training and calibration together; null: steps alone
    reserve_s: NonNegativeFloat  # of these, kept for calibration
    steps: PositiveInt | None
    batch_tokens: PositiveInt  # tokens a step, over all ranks
    micro_batch_tokens: PositiveInt  # tokens one rank holds at a time
    recurrence_from: Fraction  # progress at which depth recurrence is activated
    warmdown_frac: Fraction  # last share of the run, over which the rates fall
    min_lr_frac: Fraction
    muon_lr: PositiveFloat
    muon_decay: NonNegativeFloat
    embed_lr: PositiveFloat
    embed_decay: NonNegativeFloat
    scalar_lr: PositiveFloat
    scalar_decay: NonNegativeFloat
    momentum: Decay  # of Muon, after its warm-up
    momentum_start: Decay
    momentum_steps: NonNegativeInt
    ns_steps: PositiveInt  # iterations
    ns_coefficients: Literal["quintic", "polar_express"]  # of Newton–Schulz; polar_express has five iterations
    normuon_beta2: _Beta | None  # decay of the second moment of each row of an update; null: none
    beta1: _Beta
    beta2: _Beta
    eps: PositiveFloat
    grad_clip: PositiveFloat | None  # global gradient norm
    warmup_steps: NonNegativeInt  # compile warm-up on random tokens, undone afterwards
    ema_decays: tuple[Decay, ...]  # averages tracked exactly
    ema_basis_decays: tuple[Decay, ...]  # two traces whose snapshots let other decays be chosen afterwards
    ema_snapshots: Annotated[int, Range(low=1, high=64)]  # kept of each trace: 4 bytes x parameters each
    ema_snapshot_every: PositiveInt
    checkpoint_every: PositiveInt | None
    dev_every: PositiveInt | None
    dev_tokens: PositiveInt  # of dev, whose loss is watched
    log_every: PositiveInt
    resume: bool  # go on where an interrupted run with the same inputs stopped; false: start fresh
    resume_save_s: PositiveFloat  # seconds between the states that are kept for that

    def validate(self):
        if self.ns_coefficients == "polar_express" and self.ns_steps > _MAX_POLAR_EXPRESS_STEPS:
            yield "ns_steps", f"polar_express has {_MAX_POLAR_EXPRESS_STEPS} iterations, got {self.ns_steps}"
        if self.limit_s is None and self.steps is None:
            yield "steps", "limit_s and steps are both null, so training would never end; give one a number"
        if self.limit_s is not None and self.reserve_s >= self.limit_s:
            yield "reserve_s", f"{self.reserve_s:g} s leave nothing of limit_s = {self.limit_s:g} s"
        if self.batch_tokens % (self.micro_batch_tokens * self.ranks):
            yield (
                "batch_tokens",
                f"{self.batch_tokens} is no multiple of micro_batch_tokens x ranks = {self.micro_batch_tokens * self.ranks}",
            )
        if len(self.ema_basis_decays) != 2 or len(set(self.ema_basis_decays)) != 2:
            yield "ema_basis_decays", f"must be two different decays, got {list(self.ema_basis_decays)}"
        if len(set(self.ema_decays)) != len(self.ema_decays):
            yield "ema_decays", f"holds a decay twice: {list(self.ema_decays)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EMAConfig(ExecutionConfig):
    """Which average of the weights goes on."""

    decay: Decay
    eval_batch_tokens: PositiveInt  # scored at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class TTTConfig(ExecutionConfig):
    """Test-time training. plan.json is this section, and evaluate applies it score-first, whatever the method here."""

    ranks: _RankCount
    stream: Literal["dev", "val"]
    method: Literal["score_first", "prequant"]  # how this stage adapts the full-precision weights
    stride: PositiveInt  # of the sliding windows that score
    eval_batch_tokens: PositiveInt  # one rank scores at a time
    chunk_tokens: PositiveInt  # targets scored before the model may learn from them
    batch_tokens: PositiveInt  # of a chunk, in one optimiser step
    epochs: NonNegativeInt  # passes over a chunk once it is scored
    lr: NonNegativeFloat
    momentum: Decay
    grad_clip: PositiveFloat | None

    def validate(self):
        if self.chunk_tokens % self.batch_tokens:
            yield "batch_tokens", f"{self.batch_tokens} does not divide chunk_tokens = {self.chunk_tokens}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PrequantTTTConfig:
    """Epochs over the whole stream before anything of it is scored; read where ttt.method is prequant."""

    sync: Literal["sequential", "federated"]  # PR #1485 | PR #1735
    epochs: NonNegativeInt
    lr: NonNegativeFloat
    min_lr_frac: Fraction  # of lr, in the last epoch
    freeze_blocks: NonNegativeInt  # first blocks that don't learn
    batch_tokens: PositiveInt  # sequential: a step, over all ranks
    chunk_tokens: PositiveInt  # federated: a step of one rank
    grad_clip: PositiveFloat | None
    ema: Decay | None  # of the average over epochs that takes the weights' place at the end; null: none


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateConfig(ExecutionConfig):
    """The training tokens on which the Hessians are measured."""

    ranks: _RankCount
    batches: PositiveInt
    batch_tokens: PositiveInt  # over all ranks
    micro_batch_tokens: PositiveInt
    sensitivity_tokens: NonNegativeInt  # of these tokens, from how many gradients are taken; the column grid needs some

    def validate(self):
        if self.batch_tokens % (self.micro_batch_tokens * self.ranks):
            yield (
                "batch_tokens",
                f"{self.batch_tokens} is no multiple of micro_batch_tokens x ranks = {self.micro_batch_tokens * self.ranks}",
            )
        if self.sensitivity_tokens > self.batches * self.batch_tokens:
            yield (
                "sensitivity_tokens",
                f"{self.sensitivity_tokens} is more than batches x batch_tokens = {self.batches * self.batch_tokens}",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeConfig:
    """row_sdclip: a step is clip x the row's standard deviation / the largest code. column: by what the loss minds."""

    weights: Literal["ema", "ttt"]  # the artifact that is calibrated and quantised
    grid: Literal["row", "row_column"]
    base_step: (
        PositiveFloat | None
    )  # column: the step in standard deviations, on geometric average; null: fills the limit
    min_weights: NonNegativeInt  # matrices of at most so many weights stay fp16
    damping_frac: PositiveFloat  # share of the Hessian's mean diagonal added to it
    block_size: PositiveInt
    matrix_bits: _BitWidth  # row_sdclip, this and the next three
    matrix_clip: PositiveFloat
    embed_bits: _BitWidth
    embed_clip: PositiveFloat

    def validate(self):
        if self.grid == "row" and self.base_step is not None:
            yield (
                "base_step",
                f"{self.base_step:g} is for quantize.grid = row_column; row has its clips, set it to null",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressConfig:
    """The container and its budget."""

    codec: Literal["brotli", "ans"]
    brotli_quality: Annotated[int, Range(low=0, high=11)]
    limit_bytes: PositiveInt  # for payload and code together
    code_reserve_bytes: NonNegativeInt  # of these, what quantize leaves for the code where it fills the limit

    def validate(self):
        if self.code_reserve_bytes >= self.limit_bytes:
            yield "code_reserve_bytes", f"{self.code_reserve_bytes} leaves nothing of limit_bytes = {self.limit_bytes}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(ExecutionConfig):
    """How the artifact is judged. The headline is named before anything is scored."""

    ranks: _RankCount
    predictor: str  # package.module:Class, with the calls of golf.inference.predictor.GolfPredictor
    artifact: str  # the file that it opens
    headline: Literal["plain", "sliding", "ttt"]
    stride: PositiveInt
    eval_batch_tokens: PositiveInt  # one rank scores at a time
    limit_s: PositiveFloat | None  # from the start of the command to the headline's last score; null: none
    probe_alternative_tokens: Annotated[int, Range(low=2)] | None  # tokens tried in a target's place; null: no probes
