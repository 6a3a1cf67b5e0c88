"""The sections of params.yaml as frozen dataclasses: meaning, type and range of every key, and contradictions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from golf.config.validation import Decay, Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Range

__all__ = [
    "CalibrateConfig",
    "CompressConfig",
    "EMAConfig",
    "EvaluateConfig",
    "ExecutionConfig",
    "FetchConfig",
    "HubConfig",
    "PrequantTTTConfig",
    "QuantizeConfig",
    "TTTConfig",
    "TrainConfig",
]

_AttentionBackend = Literal["auto", "flash4", "flash3", "flash2", "sdpa"]
_BitWidth = Annotated[int, Range(low=2, high=8)]
_RankCount = Annotated[int, Range(low=1, high=4096)]
_MAX_POLAR_EXPRESS_STEPS = 5  # the coefficients are known for this many iterations


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionConfig:
    """How a stage runs its model. Every stage has its own keys: changing one stage's device reruns only that stage."""

    device: Literal["auto", "cpu", "cuda"]  # auto: a GPU where there is one
    attention: _AttentionBackend  # attention kernel; auto: the fastest that the device has
    compile: Literal["auto", "on", "off"]  # torch.compile; auto: where a compiler is found
    # of forward and backward passes; auto: bfloat16 where the device is fast at it
    dtype: Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchConfig:
    """The text and its tokenization."""

    # stdlib: Python's own documentation | files: a folder of your texts | hub: the challenge's export
    source: Literal["stdlib", "files", "hub"]
    path: str  # folder of your own texts; read when source is files
    tokenizer: str  # train: learn one on the train split | the path of a SentencePiece model
    # lossless transform of the text before tokenization; caseops: docs/references.md#caseops
    transform: Literal["none", "caseops"]
    # share of documents for val, by hash; with hub, val is the export's own
    val_percent: Annotated[float, Range(low=0, high=50, open_low=True)]
    # share of documents for dev, by hash; with hub, of train's tokens
    dev_percent: Annotated[float, Range(low=0, high=50, open_low=True)]
    shard_tokens: Annotated[int, Range(low=16, high=1_000_000_000)]  # tokens per shard file


@dataclass(frozen=True, kw_only=True, slots=True)
class HubConfig:
    """The published export to download; read if fetch.source is hub."""

    repo: str  # owner/name of the data set on the Hugging Face Hub
    revision: str  # best a commit; a branch or tag is resolved to one, which the manifest records
    variant: str  # sp1024 | sp4096 | sp8192 | sp8192_lossless_caps_caseops_v1_reserved
    train_shards: PositiveInt  # number of train shards to download, from the first; val is always whole
    root: str | None  # folder outside the workspace for train's shards; null: runs/hub, linked into artifacts
    workers: Annotated[int, Range(low=1, high=64)]  # parallel downloads


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(ExecutionConfig):
    """The training run: budget, batch, optimizers, averages, logging and resuming."""

    ranks: _RankCount  # processes, over all machines
    seed: NonNegativeInt  # of the initial weights and the data order
    limit_s: PositiveFloat | None  # seconds for training and calibration together; null: steps alone
    reserve_s: NonNegativeFloat  # of these, seconds kept for calibration
    steps: PositiveInt | None  # optimizer steps; null: seconds alone
    batch_tokens: PositiveInt  # tokens per step, over all ranks
    micro_batch_tokens: PositiveInt  # tokens that one rank holds at a time
    recurrence_from: Fraction  # fraction of the run at which depth recurrence starts
    warmdown_frac: Fraction  # last share of the run, over which the learning rates fall
    min_lr_frac: Fraction  # share of the learning rates left at the end
    muon_lr: PositiveFloat  # learning rate of Muon, for matrices
    muon_weight_decay: NonNegativeFloat  # weight decay of matrices
    embed_lr: PositiveFloat  # learning rate of AdamW for the embedding
    embed_weight_decay: NonNegativeFloat  # weight decay of the embedding
    scalar_lr: PositiveFloat  # learning rate of AdamW for vectors and scalars
    scalar_weight_decay: NonNegativeFloat  # weight decay of vectors and scalars
    muon_momentum: Decay  # momentum of Muon, after its warm-up
    muon_momentum_start: Decay  # momentum of Muon, at the first step
    muon_momentum_warmup_steps: NonNegativeInt  # steps over which Muon's momentum rises
    ns_steps: PositiveInt  # Newton–Schulz iterations of Muon; polar_express has at most five
    # of Newton–Schulz: docs/references.md#muon | docs/references.md#polar-express
    ns_coefficients: Literal["quintic", "polar_express"]
    normuon_beta2: Decay | None  # decay of the second moment of an update's rows, docs/references.md#normuon; null: off
    beta1: Decay  # AdamW's decay of the first moment
    beta2: Decay  # AdamW's decay of the second moment
    eps: PositiveFloat  # AdamW's epsilon
    grad_clip: PositiveFloat | None  # largest global gradient norm; null: no clipping
    compile_warmup_steps: NonNegativeInt  # steps of the compile warm-up on random tokens, undone before training
    ema_decays: tuple[Decay, ...]  # weight averages tracked exactly
    # two basis decays whose snapshots give other decays afterwards, docs/references.md#ema-posthoc
    ema_basis_decays: tuple[Decay, ...]
    ema_snapshots: Annotated[int, Range(low=1, high=64)]  # of each basis average, 4 bytes per parameter each
    ema_snapshot_every: PositiveInt  # steps between two snapshots
    checkpoint_every: PositiveInt | None  # steps between two checkpoints; null: none
    dev_every: PositiveInt | None  # steps between two measurements of dev's loss; null: none
    dev_tokens: PositiveInt  # tokens of dev whose loss is measured
    log_every: PositiveInt  # steps between two rows of log.csv
    resume: bool  # continue an interrupted run with the same inputs; false: start afresh
    resume_save_s: PositiveFloat  # seconds between two saved states

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.ns_coefficients == "polar_express" and self.ns_steps > _MAX_POLAR_EXPRESS_STEPS:
            yield "ns_steps", f"must be at most {_MAX_POLAR_EXPRESS_STEPS} with polar_express, got {self.ns_steps}"
        if self.limit_s is None and self.steps is None:
            yield "steps", "steps and limit_s are both null, so training would never end; set one of them"
        if self.limit_s is not None and self.reserve_s >= self.limit_s:
            yield "reserve_s", f"must be below limit_s = {self.limit_s:g}, got {self.reserve_s:g}"
        if self.batch_tokens % (self.micro_batch_tokens * self.ranks):
            yield (
                "batch_tokens",
                f"must be a multiple of micro_batch_tokens x ranks = {self.micro_batch_tokens * self.ranks}, "
                f"got {self.batch_tokens}",
            )
        if len(self.ema_basis_decays) != 2 or len(set(self.ema_basis_decays)) != 2:
            yield "ema_basis_decays", f"must be two different decays, got {list(self.ema_basis_decays)}"
        if len(set(self.ema_decays)) != len(self.ema_decays):
            yield "ema_decays", f"must not contain a decay twice, got {list(self.ema_decays)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EMAConfig(ExecutionConfig):
    """The average of the weights that the next stages use."""

    decay: Decay  # of the weight average that the next stages use
    eval_batch_tokens: PositiveInt  # tokens scored at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class TTTConfig(ExecutionConfig):
    """Test-time training. plan.json holds this section; evaluate applies it score-first, whatever ``method`` is."""

    ranks: _RankCount  # processes, over all machines
    stream: Literal["dev", "val"]  # the split that this stage adapts to; val is disputed
    # how this stage adapts the full-precision weights; prequant: see the section prequant
    method: Literal["score_first", "prequant"]
    stride: PositiveInt  # tokens between the sliding windows that score
    eval_batch_tokens: PositiveInt  # tokens that one rank scores at a time
    chunk_tokens: PositiveInt  # targets that are scored before the model may learn from them
    batch_tokens: PositiveInt  # tokens of a chunk in one optimizer step
    epochs: NonNegativeInt  # passes over a chunk after it is scored
    lr: NonNegativeFloat  # learning rate of SGD at the first chunk; falls as a cosine over the chunks
    momentum: Decay  # of SGD
    grad_clip: PositiveFloat | None  # largest global gradient norm; null: no clipping

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.chunk_tokens % self.batch_tokens:
            yield "batch_tokens", f"must divide chunk_tokens = {self.chunk_tokens}, got {self.batch_tokens}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PrequantTTTConfig:
    """Fine-tuning on the whole stream before any of it is scored; read if ttt.method is prequant."""

    # sequential: one model on all ranks (#1485) | federated: one per rank, averaged (#1735)
    sync: Literal["sequential", "federated"]
    epochs: NonNegativeInt  # passes over the stream
    lr: NonNegativeFloat  # learning rate of AdamW
    min_lr_frac: Fraction  # share of lr in the last epoch
    freeze_blocks: NonNegativeInt  # first blocks that do not learn
    batch_tokens: PositiveInt  # sequential: tokens per step, over all ranks
    chunk_tokens: PositiveInt  # federated: tokens per step of one rank
    grad_clip: PositiveFloat | None  # largest global gradient norm; null: no clipping
    ema_decay: Decay | None  # decay of the average over epochs that replaces the weights at the end; null: none


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateConfig(ExecutionConfig):
    """The training tokens from which Hessians and sensitivities are estimated."""

    ranks: _RankCount  # processes, over all machines
    batches: PositiveInt  # batches of training tokens; fewer when the time ends first
    batch_tokens: PositiveInt  # tokens per batch, over all ranks
    micro_batch_tokens: PositiveInt  # tokens that one rank holds at a time
    sensitivity_tokens: NonNegativeInt  # of these tokens, how many also give gradients; the row_column grid needs some

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.batch_tokens % (self.micro_batch_tokens * self.ranks):
            yield (
                "batch_tokens",
                f"must be a multiple of micro_batch_tokens x ranks = {self.micro_batch_tokens * self.ranks}, "
                f"got {self.batch_tokens}",
            )
        if self.sensitivity_tokens > self.batches * self.batch_tokens:
            yield (
                "sensitivity_tokens",
                f"must be at most batches x batch_tokens = {self.batches * self.batch_tokens}, "
                f"got {self.sensitivity_tokens}",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeConfig:
    """GPTQ and the scales of the integer grid.

    row: a row's scale is clip x its standard deviation / the largest code (PR #1493). row_column: scales of rows and
    columns follow from the output sensitivity.
    """

    weights: Literal["ema", "ttt"]  # the stage whose weights are calibrated and quantized
    # row: a scale per row, docs/references.md#sdclip | row_column: scales by sensitivity
    grid: Literal["row", "row_column"]
    # row_column: geometric mean step in standard deviations; null: the one that fills the limit
    base_step: PositiveFloat | None
    min_weights: NonNegativeInt  # matrices of at most this many weights stay fp16
    damping_frac: PositiveFloat  # share of the Hessian's mean diagonal that is added to the diagonal
    block_size: PositiveInt  # columns that GPTQ updates at a time
    matrix_bits: _BitWidth  # row: bits of a matrix code
    matrix_clip: PositiveFloat  # row: clip of matrices in standard deviations
    embed_bits: _BitWidth  # row: bits of an embedding code
    embed_clip: PositiveFloat  # row: clip of the embedding in standard deviations

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.grid == "row" and self.base_step is not None:
            yield (
                "base_step",
                f"must be null with quantize.grid = row, which uses clips, got {self.base_step:g}",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressConfig:
    """The model file and its size limit."""

    codec: Literal["brotli", "ans"]  # entropy coder: docs/references.md#brotli | docs/references.md#ans
    brotli_quality: Annotated[int, Range(low=0, high=11)]  # Brotli's quality; read when codec is brotli
    limit_bytes: PositiveInt  # largest size of model and code together
    code_reserve_bytes: NonNegativeInt  # of these, bytes that quantize leaves for the code when it fills the limit

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.code_reserve_bytes >= self.limit_bytes:
            yield "code_reserve_bytes", f"must be below limit_bytes = {self.limit_bytes}, got {self.code_reserve_bytes}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(ExecutionConfig):
    """How the artifact is evaluated."""

    ranks: _RankCount  # processes, over all machines
    predictor: str  # package.module:Class that implements golf.inference.interface.Predictor
    artifact: str  # the one file that the predictor opens
    headline: Literal["plain", "sliding", "ttt"]  # scoring mode whose bpb is reported, named before anything is scored
    stride: PositiveInt  # tokens between sliding windows
    eval_batch_tokens: PositiveInt  # tokens that one rank scores at a time
    limit_s: PositiveFloat | None  # seconds from process start to the headline's last score; null: no limit
    # tokens that probes try in a target's place; null: no probes
    probe_alternative_tokens: Annotated[int, Range(low=2)] | None
