"""golf's own predictor, the default of ``evaluate.predictor``. Its import closure is the code that is weighed."""

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from golf.compression import quantized_tensor, reader
from golf.config.model import ModelConfig
from golf.distributed.context import DistContext
from golf.errors import ArtifactError
from golf.inference.interface import MemorySettings, ScoredChunk, TTTSettings
from golf.inference.scorer import Scorer
from golf.model.gpt import GPT

if TYPE_CHECKING:
    from golf.inference.ngram_memory import NgramMemory
    from golf.inference.score_first_sgd import ScoreFirstSGD

__all__ = ["GolfPredictor"]


class GolfPredictor:
    """A GPT scored in sliding windows, mixed with a memory of the text before, and adapted by score-first SGD.

    ``interface.Predictor`` has the contract.
    """

    def __init__(self, model: GPT, ctx: DistContext, *, eval_batch_tokens: int, header: reader.Header | None = None):
        """header: that of the file that the model was read from; None when it was not read from a file."""
        self.model, self._ctx, self.header = model, ctx, header
        self._scorer = Scorer(model, ctx, eval_batch_tokens=eval_batch_tokens)
        self.initial_weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self._stride = model.cfg.context_length
        self.learner: ScoreFirstSGD | None = None
        self.memory: NgramMemory | None = None

    @classmethod
    def open(cls, path: str, ctx: DistContext, *, eval_batch_tokens: int) -> Self:
        """Load a .golf file.

        Raises ArtifactError when it is damaged, or when its tensors are not those of the model that its header names.
        """
        tensors, header = reader.read(path)
        mismatch = _state_mismatch(tensors, header.model)
        if mismatch:
            raise ArtifactError(path, f"its tensors are not those of the model it names: {mismatch}", reader.RERUN_HINT)
        model = GPT(header.model, ctx.attention)
        model.load_state_dict(quantized_tensor.dequantize_state_dict(tensors))
        return cls(model.to(ctx.device), ctx, eval_batch_tokens=eval_batch_tokens, header=header)

    def reset(
        self,
        *,
        stride: int,
        ttt_cfg: TTTSettings | None = None,
        memory_cfg: MemorySettings | None = None,
        n_chunks: int = 1,
    ) -> Self:
        self.model.load_state_dict(self.initial_weights)
        self._stride = stride
        self._scorer.warm_up(stride=stride)
        self.learner, self.memory = None, None
        if ttt_cfg is not None:
            from golf.inference.score_first_sgd import ScoreFirstSGD

            self.learner = ScoreFirstSGD(self.model, ttt_cfg, self._ctx, n_chunks=n_chunks)
        if memory_cfg is not None and memory_cfg.orders:
            from golf.inference.ngram_memory import NgramMemory

            self.memory = NgramMemory(memory_cfg)
        return self

    def score(self, prefix: np.ndarray, chunk: np.ndarray) -> np.ndarray:
        nll = self._scorer.score(prefix, chunk, stride=self._stride)
        return nll if self.memory is None else self.memory.mix_nll(prefix, chunk, nll)

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        log_probs = self._scorer.log_probs(prefix, stride=self._stride)
        return log_probs if self.memory is None else self.memory.mix_log_probs(prefix, log_probs)

    def update(self, scored_chunk: ScoredChunk) -> None:
        if self.learner is not None:
            self.learner.train_on_chunk(scored_chunk)
        if self.memory is not None:
            self.memory.learn(scored_chunk)


def _state_mismatch(tensors: dict[str, torch.Tensor], model_cfg: ModelConfig) -> str | None:
    """Describe the first difference between stored tensors and the state of a model of ``model_cfg``; None when none.

    The model is built on the meta device, because a header of a few bytes may claim a model that fits no memory.
    """
    with torch.device("meta"):
        model = GPT(model_cfg)
    rope_bytes = sum(buffer.nbytes for buffer in model.buffers())
    if rope_bytes > reader.MAX_RAW_BYTES:
        return f"its rotary tables take {rope_bytes:,} bytes, at most {reader.MAX_RAW_BYTES:,} are allowed"
    expected_shapes = {}
    for name, tensor in model.state_dict().items():
        if name + quantized_tensor.CODES_SUFFIX in tensors and tensor.ndim == 2:
            expected_shapes[name + quantized_tensor.CODES_SUFFIX] = tensor.shape
            expected_shapes[name + quantized_tensor.ROW_SCALES_SUFFIX] = tensor.shape[:1]
            if name + quantized_tensor.COL_SCALES_SUFFIX in tensors:
                expected_shapes[name + quantized_tensor.COL_SCALES_SUFFIX] = tensor.shape[1:]
        else:
            expected_shapes[name] = tensor.shape
    actual_shapes = {name: tensor.shape for name, tensor in tensors.items()}
    for name in sorted(expected_shapes.keys() | actual_shapes.keys()):
        expected, actual = expected_shapes.get(name), actual_shapes.get(name)
        if expected != actual:
            return f"{name} must be {_format_shape(expected)}, got {_format_shape(actual)}"
    return None


def _format_shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(list(shape))
