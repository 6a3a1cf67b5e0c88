"""The sections of params.yaml as frozen dataclasses: what each key is, what it may be, and what can't go together."""

from dataclasses import dataclass
from typing import Annotated, Literal

from golf.ground.schema import Bound, Count, Decay, Natural, NonNegative, Positive, Share

Backend = Literal["auto", "flash4", "flash3", "flash2", "sdpa"]
Bits = Annotated[int, Bound(low=2, high=8)]
Beta = Decay
POLAR_EXPRESS = 5  # iterations whose coefficients are known
Ranks = Annotated[int, Bound(low=1, high=4096)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How a stage runs its model. Each stage has its own, so that judging on one GPU reruns nothing before it."""

    device: Literal["auto", "cpu", "cuda"]
    attention: Backend
    compile: Literal["auto", "on", "off"]
    dtype: Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetch:
    """Where the text comes from and how it becomes tokens."""

    source: Literal["stdlib", "files", "hub"]
    path: str  # folder of the user's own texts
    tokenizer: str  # train: learn one on the train split; else the path of a SentencePiece model
    transform: Literal["none", "caseops"]  # of the text before it is tokenised, and undone exactly
    val_percent: Annotated[float, Bound(low=0, high=50, open_low=True)]
    dev_percent: Annotated[float, Bound(low=0, high=50, open_low=True)]
    shard_tokens: Annotated[int, Bound(low=16, high=1_000_000_000)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """The challenge's published exports; read where fetch.source is hub."""

    repo: str  # owner/name of the data set
    revision: str  # a commit, best; a branch or tag is resolved to one, which the manifest then holds
    variant: str  # sp1024 | sp4096 | sp8192 | sp8192_lossless_caps_caseops_v1_reserved
    train_shards: Count  # the first so many; all of val always
    root: str | None  # folder outside the workspace for train's shards; null: in runs/hub, linked into artifacts
    workers: Annotated[int, Bound(low=1, high=64)]  # downloads at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Train(Execution):
    """The training run: budget, batch, optimisers, averages."""

    ranks: Ranks
    seed: Natural
    limit_s: Positive | None  # seconds allowed for training and calibration together; null: steps alone
    reserve_s: NonNegative  # of these, kept for calibration
    steps: Count | None
    batch_tokens: Count  # tokens a step, over all ranks
    micro_tokens: Count  # tokens one rank holds at a time
    loop_at: Share  # progress at which depth recurrence is activated
    warmdown: Share  # last share of the run, over which the rates fall
    lr_floor: Share
    matrix_lr: Positive
    matrix_decay: NonNegative
    embed_lr: Positive
    embed_decay: NonNegative
    scalar_lr: Positive
    scalar_decay: NonNegative
    momentum: Decay  # of Muon, after its warm-up
    momentum_start: Decay
    momentum_steps: Natural
    newton_schulz: Count  # iterations
    coefficients: Literal["quintic", "polar_express"]  # of Newton–Schulz; polar_express has five iterations
    normuon: Beta | None  # decay of the second moment of each row of an update; null: none
    beta1: Beta
    beta2: Beta
    eps: Positive
    clip: Positive | None  # global gradient norm
    warmup_steps: Natural  # compile warm-up on random tokens, undone afterwards
    ema_decays: tuple[Decay, ...]  # averages tracked exactly
    ema_traces: tuple[Decay, ...]  # two traces whose snapshots let other decays be chosen afterwards
    ema_snapshots: Annotated[int, Bound(low=1, high=64)]  # kept of each trace: 4 bytes x parameters each
    ema_snapshot_every: Count
    checkpoint_every: Count | None
    dev_every: Count | None
    dev_tokens: Count  # of dev, whose loss is watched
    log_every: Count
    resume: bool  # go on where an interrupted run with the same inputs stopped; false: start fresh
    state_every_s: Positive  # seconds between the states that are kept for that

    def problems(self):
        if self.coefficients == "polar_express" and self.newton_schulz > POLAR_EXPRESS:
            yield "newton_schulz", f"polar_express has {POLAR_EXPRESS} iterations, got {self.newton_schulz}"
        if self.limit_s is None and self.steps is None:
            yield "steps", "limit_s and steps are both null, so training would never end; give one a number"
        if self.limit_s is not None and self.reserve_s >= self.limit_s:
            yield "reserve_s", f"{self.reserve_s:g} s leave nothing of limit_s = {self.limit_s:g} s"
        if self.batch_tokens % (self.micro_tokens * self.ranks):
            yield (
                "batch_tokens",
                f"{self.batch_tokens} is no multiple of micro_tokens x ranks = {self.micro_tokens * self.ranks}",
            )
        if len(self.ema_traces) != 2 or len(set(self.ema_traces)) != 2:
            yield "ema_traces", f"must be two different decays, got {list(self.ema_traces)}"
        if len(set(self.ema_decays)) != len(self.ema_decays):
            yield "ema_decays", f"holds a decay twice: {list(self.ema_decays)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ema(Execution):
    """Which average of the weights goes on."""

    decay: Decay
    score_tokens: Count  # scored at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Ttt(Execution):
    """Test-time training. plan.json is this section, and evaluate applies it score-first, whatever the method here."""

    ranks: Ranks
    stream: Literal["dev", "val"]
    method: Literal["score_first", "prequant"]  # how this stage adapts the full-precision weights
    stride: Count  # of the sliding windows that score
    score_tokens: Count  # one rank scores at a time
    chunk_tokens: Count  # targets scored before the model may learn from them
    batch_tokens: Count  # of a chunk, in one optimiser step
    epochs: Natural  # passes over a chunk once it is scored
    lr: NonNegative
    momentum: Decay
    clip: Positive | None

    def problems(self):
        if self.chunk_tokens % self.batch_tokens:
            yield "batch_tokens", f"{self.batch_tokens} does not divide chunk_tokens = {self.chunk_tokens}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prequant:
    """Epochs over the whole stream before anything of it is scored; read where ttt.method is prequant."""

    form: Literal["sequential", "federated"]  # PR #1485 | PR #1735
    epochs: Natural
    lr: NonNegative
    floor: Share  # of lr, in the last epoch
    freeze: Natural  # first blocks that don't learn
    batch_tokens: Count  # sequential: a step, over all ranks
    chunk_tokens: Count  # federated: a step of one rank
    clip: Positive | None
    ema: Decay | None  # of the average over epochs that takes the weights' place at the end; null: none


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrate(Execution):
    """The training tokens on which the Hessians are measured."""

    ranks: Ranks
    batches: Count
    batch_tokens: Count  # over all ranks
    micro_tokens: Count
    sensitivity_tokens: Natural  # of these tokens, from how many gradients are taken; the column grid needs some

    def problems(self):
        if self.batch_tokens % (self.micro_tokens * self.ranks):
            yield (
                "batch_tokens",
                f"{self.batch_tokens} is no multiple of micro_tokens x ranks = {self.micro_tokens * self.ranks}",
            )
        if self.sensitivity_tokens > self.batches * self.batch_tokens:
            yield (
                "sensitivity_tokens",
                f"{self.sensitivity_tokens} is more than batches x batch_tokens = {self.batches * self.batch_tokens}",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantize:
    """row_sdclip: a step is clip x the row's standard deviation / the largest code. column: by what the loss minds."""

    weights: Literal["ema", "ttt"]  # the artifact that is calibrated and quantised
    grid: Literal["row_sdclip", "column"]
    level: Positive | None  # column: the step in standard deviations, on geometric average; null: fills the limit
    min_weights: Natural  # matrices of at most so many weights stay fp16
    damp: Positive  # share of the Hessian's mean diagonal added to it
    block: Count
    matrix_bits: Bits  # row_sdclip, this and the next three
    matrix_clip: Positive
    embed_bits: Bits
    embed_clip: Positive

    def problems(self):
        if self.grid == "row_sdclip" and self.level is not None:
            yield "level", f"{self.level:g} is for quantize.grid = column; row_sdclip has its clips, set it to null"


@dataclass(frozen=True, kw_only=True, slots=True)
class Compress:
    """The container and its budget."""

    codec: Literal["brotli", "entropy"]
    quality: Annotated[int, Bound(low=0, high=11)]
    limit_bytes: Count  # for payload and code together
    code_reserve_bytes: Natural  # of these, what quantize leaves for the code where it fills the limit

    def problems(self):
        if self.code_reserve_bytes >= self.limit_bytes:
            yield "code_reserve_bytes", f"{self.code_reserve_bytes} leaves nothing of limit_bytes = {self.limit_bytes}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluate(Execution):
    """How the artifact is judged. The headline is named before anything is scored."""

    ranks: Ranks
    method: str  # package.module:Class, with the calls of golf.method.Method
    artifact: str  # the file that it opens
    headline: Literal["plain", "sliding", "ttt"]
    stride: Count
    score_tokens: Count  # one rank scores at a time
    limit_s: Positive | None  # from the start of the command to the headline's last score; null: none
    probe_alternatives: Annotated[int, Bound(low=2)] | None  # tokens tried in a target's place; null: no probes
