"""What is submitted: open the artifact, score, adapt to what was scored. Its import closure is the code bill."""

import numpy as np
import torch

from golf.compression import quantized_tensor, reader
from golf.config.model import ModelConfig
from golf.distributed.context import DistContext
from golf.errors import ArtifactError
from golf.inference.interface import ScoredChunk
from golf.inference.score_first_sgd import ScoreFirstSGD
from golf.inference.scorer import Scorer
from golf.model.gpt import GPT


class GolfPredictor:
    """A model and how it is used on a stream. ``begin`` a pass, then ``score`` and ``update`` chunk by chunk."""

    def __init__(self, model: GPT, ctx: DistContext, *, eval_batch_tokens: int, header: reader.Header | None = None):
        self.model, self._ctx = model, ctx
        self.header = header  # what the file said of itself; None where there was no file
        self._scorer = Scorer(model, ctx, eval_batch_tokens=eval_batch_tokens)
        self.initial_weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self._stride = model.cfg.context_length
        self.learner: ScoreFirstSGD | None = None

    @classmethod
    def open(cls, path, ctx: DistContext, *, eval_batch_tokens: int) -> "GolfPredictor":
        """From a .golf file and nothing else. Raises BadArtifact when it is damaged or holds no whole model."""
        tensors, header = reader.read(path)
        mismatch = _state_mismatch(tensors, header.model)
        if mismatch:
            raise ArtifactError(path, f"its tensors are not those of the model it names: {mismatch}", reader.RERUN_HINT)
        model = GPT(header.model, ctx.attention)
        model.load_state_dict(quantized_tensor.dequantize_state_dict(tensors))
        return cls(model.to(ctx.device), ctx, eval_batch_tokens=eval_batch_tokens, header=header)

    def reset(self, *, stride: int, ttt_cfg=None, n_chunks: int = 1) -> "GolfPredictor":
        """Back to the weights as opened. plan: how to learn from sealed chunks, of which there will be ``chunks``."""
        self.model.load_state_dict(self.initial_weights)
        self._stride = stride
        self._scorer.warm_up(stride=stride)
        self.learner = None if ttt_cfg is None else ScoreFirstSGD(self.model, ttt_cfg, self._ctx, n_chunks=n_chunks)
        return self

    def score(self, prefix: np.ndarray, chunk: np.ndarray, positions=None):
        """Nats of each token of ``chunk`` after ``prefix``: fp32 [n]; with ``rows`` also log-probabilities [r, V]."""
        nll = self._scorer.score(prefix, chunk, stride=self._stride)
        if positions is None:
            return nll
        return nll, self._scorer.log_probs(prefix, chunk, positions, stride=self._stride)

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        """Log-probabilities of the token after ``prefix``: fp32 [V]. No target is given."""
        return self._scorer.log_probs(prefix, np.zeros(1, prefix.dtype), [0], stride=self._stride)[0]

    def update(self, scored_chunk: ScoredChunk) -> None:
        """Learn from a chunk whose scores are in the ledger, if there is a plan for it."""
        if self.learner is not None:
            self.learner.train_on_chunk(scored_chunk)


def _state_mismatch(tensors: dict[str, torch.Tensor], model_cfg: ModelConfig) -> str | None:
    """The first way in which tensors as stored differ from a model of ``shape``; None where they fit.

    A header of a few bytes may claim any model, so nothing of the model's size is allocated to find out.
    """
    with torch.device("meta"):
        model = GPT(model_cfg)
    rope_bytes = sum(buffer.nbytes for buffer in model.buffers())
    if rope_bytes > reader.MAX_RAW_BYTES:
        return f"its rotary tables take {rope_bytes:,} bytes, at most {reader.MAX_RAW_BYTES:,} are allowed"
    expected_shapes = {}
    for name, tensor in model.state_dict().items():
        if name + quantized_tensor.CODES_SUFFIX in tensors and tensor.ndim == 2:  # codes have rows, each with its step
            expected_shapes |= {
                name + quantized_tensor.CODES_SUFFIX: tensor.shape,
                name + quantized_tensor.ROW_SCALES_SUFFIX: tensor.shape[:1],
            }
            if name + quantized_tensor.COL_SCALES_SUFFIX in tensors:
                expected_shapes[name + quantized_tensor.COL_SCALES_SUFFIX] = tensor.shape[1:]
        else:
            expected_shapes[name] = tensor.shape
    actual_shapes = {name: tensor.shape for name, tensor in tensors.items()}
    for name in sorted(expected_shapes.keys() | actual_shapes.keys()):
        if expected_shapes.get(name) != actual_shapes.get(name):
            return f"{name} must be {_format_shape(expected_shapes.get(name))}, got {_format_shape(actual_shapes.get(name))}"
    return None


def _format_shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(list(shape))
