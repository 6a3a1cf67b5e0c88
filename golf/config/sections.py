"""The sections of params.yaml as frozen dataclasses: meaning, type and range of every key, and contradictions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from golf.config.execution import ExecutionConfig, RankCount, check_batch
from golf.config.validation import Decay, Fraction, Range
from golf.config.value_types import (
    Bytes,
    Clip,
    Count,
    CountOrZero,
    Epochs,
    GradClip,
    LearningRateOrZero,
    NonEmptyText,
    Seconds,
    SizeOrZero,
    WeightDecay,
)

__all__ = [
    "CalibrateConfig",
    "CompressConfig",
    "EvaluateConfig",
    "FetchConfig",
    "HubConfig",
    "MemoryConfig",
    "PrequantTTTConfig",
    "QuantizeConfig",
    "TTTConfig",
]

_BitWidth = Annotated[int, Range(low=2, high=8)]


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchConfig:
    """The text and its tokenization."""

    # docs: docstrings of golf's own packages | stdlib: Python's own documentation | files: a folder of your texts |
    # hub: the challenge's export
    source: Literal["docs", "stdlib", "files", "hub"]
    path: NonEmptyText  # folder of your own texts; read when source is files
    tokenizer: NonEmptyText  # train: learn one on the train split | the path of a SentencePiece model
    # share of train's characters that get pieces in the tokenizer trained on it; rarer characters are encoded as bytes
    character_coverage: Annotated[float, Range(low=0, high=1, open_low=True)]
    # lossless transform of the text before tokenization; caseops: docs/references.md#caseops
    transform: Literal["none", "caseops"]
    # share of documents for val, by hash; with hub, val is the export's own
    val_percent: Annotated[float, Range(low=0, high=50, open_low=True)]
    # share of documents for dev, by hash; with hub, of train's tokens
    dev_percent: Annotated[float, Range(low=0, high=50, open_low=True)]
    # strict: no paragraph of dev or val shares 64 bytes with train | documents: no whole document does; hub ignores it
    held_out: Literal["strict", "documents"]
    contamination: bool  # measure how much of dev and val occurs in train; with hub this can take an hour
    shard_tokens: Annotated[int, Range(low=16, high=1_000_000_000)]  # tokens per shard file


@dataclass(frozen=True, kw_only=True, slots=True)
class HubConfig:
    """The published export to download; read if fetch.source is hub."""

    repo: NonEmptyText  # owner/name of the data set on the Hugging Face Hub
    revision: NonEmptyText  # best a commit; a branch or tag is resolved to one, which the manifest records
    variant: NonEmptyText  # sp1024 | sp4096 | sp8192 | sp8192_lossless_caps_caseops_v1_reserved
    # number of train shards to download, from the first; val is always whole
    train_shards: Annotated[int, Range(low=1, high=100_000)]
    root: NonEmptyText | None  # folder outside the workspace for train's shards; null: runs/hub, linked into artifacts
    workers: Annotated[int, Range(low=1, high=64)]  # parallel downloads

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.root is not None and self.root.lower() in ("none", "null", "~"):  # None is how Python writes null
            yield "root", f"must be a folder or null, got {self.root!r}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TTTConfig(ExecutionConfig):
    """Test-time training. plan.json holds this section; evaluate learns as it says, from scored chunks alone."""

    ranks: RankCount  # processes, over all machines
    stream: Literal["dev", "val"]  # the split that this stage adapts to; val is disputed
    # score_first: SGD, see freeze_blocks | lora, phased, prequant: see their sections | none: no learning, memory alone
    method: Literal["score_first", "lora", "phased", "prequant", "none"]
    stride: Count  # tokens between the sliding windows that score
    eval_batch_tokens: Count  # tokens that one rank scores at a time
    chunk_tokens: Count  # targets that are scored before the model may learn from them
    batch_tokens: Count  # tokens of a chunk in one optimizer step
    epochs: Epochs  # passes over a chunk after it is scored
    # score_first, phased: first blocks that do not learn; above 0 neither do the embedding, the SmearGate and the skips
    freeze_blocks: CountOrZero
    # learning rate of the method, prequant's excepted; score_first, phased: at the first chunk, falls as a cosine
    lr: LearningRateOrZero
    momentum: Decay  # of SGD; lora does not read it, nor the next
    grad_clip: GradClip | None  # largest global gradient norm; null: no clipping

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.chunk_tokens % self.batch_tokens:
            yield "batch_tokens", f"must divide chunk_tokens = {self.chunk_tokens}, got {self.batch_tokens}"


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryConfig:
    """What the ttt mode mixes into the model's distribution: tokens that followed a like context earlier."""

    scope: Literal["stream", "document"]  # what is remembered: all scored text | that of the same document
    orders: tuple[Annotated[int, Range(low=1, high=256)], ...]  # tokens of each context length; none: no n-grams
    # one for each order; larger: less trusted; read if there are orders
    escape_weights: tuple[Annotated[float, Range(low=0.001, high=1_000_000)], ...]
    max_successors: Annotated[int, Range(low=1, high=65536)]  # newest successors of a context that count
    # the successor seen a times before the newest weighs (a + 1)^-recency_exponent
    recency_exponent: Annotated[float, Range(low=0, high=100)]
    cache_tokens: Annotated[int, Range(low=1, high=1_048_576)] | None  # newest tokens of the neural cache; null: none
    cache_theta: Annotated[float, Range(low=0, high=40)]  # larger: only the most similar states count
    # tokens in which a state's weight falls by a factor e
    cache_decay_tokens: Annotated[float, Range(low=1, high=1_000_000_000)]
    # larger: the cache counts only where a state is similar
    cache_exponent: Annotated[float, Range(low=0.001, high=10)]
    cache_escape_weight: Annotated[float, Range(low=0.001, high=1_000_000)]  # larger: less trusted
    tilt_order: Annotated[int, Range(low=1, high=256)] | None  # tokens of the tilt's context; null: no tilt
    tilt_beta: Annotated[float, Range(low=0, high=20)]  # its strength: the hint's odds grow by e^tilt_beta
    tilt_threshold: Fraction  # least share of the hint among what followed the context
    hedge: tuple[Annotated[float, Range(low=0, high=10)], ...]  # multiples of tilt_beta, mixed; none: tilt_beta alone
    hedge_rate: Annotated[float, Range(low=0, high=100)]  # of the mixture: a strength's weight falls by it for each nat

    def validate(self) -> Iterator[tuple[str, str]]:
        if list(self.orders) != sorted(set(self.orders)):
            yield "orders", f"must rise, each order once, got {list(self.orders)}"
        if self.orders and len(self.escape_weights) != len(self.orders):
            yield "escape_weights", f"must be {len(self.orders)} numbers, one an order, got {len(self.escape_weights)}"
        if len(set(self.hedge)) != len(self.hedge):
            yield "hedge", f"must not contain a multiple twice, got {list(self.hedge)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PrequantTTTConfig:
    """Fine-tuning on the whole stream before any of it is scored; read if ttt.method is prequant."""

    # sequential: one model on all ranks (#1485) | federated: one per rank, averaged (#1735)
    sync: Literal["sequential", "federated"]
    epochs: Epochs  # passes over the stream
    lr: LearningRateOrZero  # learning rate of AdamW
    # epoch: the rate falls as a cosine over the epochs (#1735) | chunk: over the steps of each epoch, then starts anew
    lr_schedule: Literal["epoch", "chunk"]
    min_lr_frac: Fraction  # share of lr in the last epoch, or with lr_schedule: chunk in the last step of each
    weight_decay: WeightDecay  # weight decay of AdamW
    freeze_blocks: CountOrZero  # first blocks that do not learn
    batch_tokens: Count  # sequential: tokens per step, over all ranks
    chunk_tokens: Count  # federated: tokens per step of one rank
    grad_clip: GradClip | None  # largest global gradient norm; null: no clipping
    ema_decay: Decay | None  # decay of the average over epochs that replaces the weights at the end; null: none


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateConfig(ExecutionConfig):
    """The tokens from which Hessians and sensitivities are estimated."""

    ranks: RankCount  # processes, over all machines
    # train: tokens of the train split | self: tokens that the model draws itself, docs/references.md#self-calibration
    source: Literal["train", "self"]
    # of the distributions that source self draws from; 1: the model's own
    temperature: Annotated[float, Range(low=0.01, high=100)]
    batches: Annotated[int, Range(low=1, high=1_000_000)]  # batches of tokens; fewer when the time ends first
    batch_tokens: Count  # tokens per batch, over all ranks
    micro_batch_tokens: Count  # tokens that one rank holds at a time
    sensitivity_tokens: CountOrZero  # of these tokens, how many also give gradients; the row_column grid needs some

    def validate(self) -> Iterator[tuple[str, str]]:
        yield from check_batch(self.batch_tokens, self.micro_batch_tokens * self.ranks)
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
    base_step: Annotated[float, Range(low=1e-6, high=1000)] | None
    # scalar: each code is rounded by itself | trellis: along a path of least cost, docs/references.md#trellis
    coding: Literal["scalar", "trellis"]
    trellis_states: Literal[4, 8, 16]  # trellis: states; more are slower to find the path of, and save bytes
    # row_column: c of (error in steps)² + c x bits, which codes minimize; 0: the error alone
    rate_weight: Annotated[float, Range(low=0, high=10)]
    # steps of distillation on calibrate's tokens that refine norms, gates and a factor of each tensor, codes frozen;
    # their seconds count as training; 0: none
    refine_steps: CountOrZero
    min_weights: SizeOrZero  # matrices of at most this many weights stay fp16
    # share of the Hessian's mean diagonal that is added to the diagonal
    damping_frac: Annotated[float, Range(low=1e-9, high=100)]
    block_size: Annotated[int, Range(low=1, high=65536)]  # columns that GPTQ updates at a time
    matrix_bits: _BitWidth  # row: bits of a matrix code
    matrix_clip: Clip  # row: clip of matrices in standard deviations
    embed_bits: _BitWidth  # row: bits of an embedding code
    embed_clip: Clip  # row: clip of the embedding in standard deviations
    # seed of a rotation of the matrices' inputs, docs/references.md#rotation; null: none
    rotate: Annotated[int, Range(low=0, high=2048)] | None
    # rank of a repair of what quantization changed, docs/references.md#lqer; null: none
    lqer: Annotated[int, Range(low=1, high=256)] | None
    lqer_tensors: Annotated[int, Range(low=1, high=10_000)]  # with lqer: how many tensors, those of the largest error

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.grid == "row" and self.base_step is not None:
            yield "base_step", f"must be null with quantize.grid = row, which uses clips, got {self.base_step:g}"
        if self.grid == "row" and self.coding == "trellis":
            yield "coding", "must be scalar with quantize.grid = row, got trellis"
        if self.grid == "row" and self.rate_weight:
            yield "rate_weight", f"must be 0 with quantize.grid = row, got {self.rate_weight:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressConfig:
    """The model file and its size limit."""

    codec: Literal["brotli", "ans"]  # entropy coder: docs/references.md#brotli | docs/references.md#ans
    brotli_quality: Annotated[int, Range(low=0, high=11)]  # Brotli's quality; read when codec is brotli
    limit_bytes: Bytes  # largest size of model and code together
    # the code that counts; predictor: what opens the model and scores | bundle: the one file that also trains,
    # docs/submission.md
    count: Literal["predictor", "bundle"]
    code_reserve_bytes: SizeOrZero  # of these, bytes that quantize leaves for the code when it fills the limit

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.code_reserve_bytes >= self.limit_bytes:
            yield "code_reserve_bytes", f"must be below limit_bytes = {self.limit_bytes}, got {self.code_reserve_bytes}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(ExecutionConfig):
    """How the artifact is evaluated."""

    dtype: Literal["float32", "bfloat16"]  # of forward and backward passes; never auto: scores must not vary by machine
    ranks: RankCount  # processes, over all machines
    # stream: chunks of ttt.chunk_tokens as they come, a context may cross documents | documents: neither crosses them
    order: Literal["stream", "documents"]
    predictor: NonEmptyText  # package.module:Class that implements golf.inference.interface.Predictor
    artifact: NonEmptyText  # the one file that the predictor opens
    headline: Literal["plain", "sliding", "ttt"]  # scoring mode whose bpb is reported, named before anything is scored
    stride: Count  # tokens between sliding windows
    eval_batch_tokens: Count  # tokens that one rank scores at a time
    limit_s: Seconds | None  # seconds from process start to the headline's last score; null: no limit
    proof_places: Count | None  # targets of each chunk at which a second predictor proves the headline; null: no proof
