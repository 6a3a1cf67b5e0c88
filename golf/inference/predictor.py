"""golf's own predictor, the default of ``evaluate.predictor``. Its import closure is the code that is weighed."""

import dataclasses
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
    from golf.inference.document_memory import DocumentMemory
    from golf.inference.document_scorer import DocumentScorer
    from golf.inference.lora import DocumentLoRA
    from golf.inference.neural_cache import NeuralCache
    from golf.inference.ngram_memory import NgramMemory
    from golf.inference.phased_sgd import PhasedSGD
    from golf.inference.score_first_sgd import ScoreFirstSGD
    from golf.inference.scorer import Mix
    from golf.inference.token_tilt import TokenTilt

__all__ = ["GolfPredictor"]


class GolfPredictor:
    """A GPT scored in sliding windows, mixed with a memory of the text before, and adapted to scored chunks.

    ``interface.Predictor`` has the contract.
    """

    def __init__(self, model: GPT, ctx: DistContext, *, eval_batch_tokens: int, header: reader.Header | None = None):
        """header: that of the file that the model was read from; None when it was not read from a file."""
        self.model, self._ctx, self.header = model, ctx, header
        self._eval_batch_tokens = eval_batch_tokens
        self._scorer = Scorer(model, ctx, eval_batch_tokens=eval_batch_tokens)
        self._source: Scorer | DocumentScorer | DocumentLoRA = self._scorer  # of the pass
        self.initial_weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self._stride = model.cfg.context_length
        self.learner: ScoreFirstSGD | PhasedSGD | None = None
        self.adapters: DocumentLoRA | None = None
        self.cache: NeuralCache | None = None
        self._learner_states: list[torch.Tensor] = []  # of the present chunk's windows [R, T, D]
        self.memory: NgramMemory | DocumentMemory | None = None
        self.tilt: TokenTilt | None = None

    @classmethod
    def open(cls, path: str, ctx: DistContext, *, eval_batch_tokens: int) -> Self:
        """Load a .golf file.

        Raises ArtifactError when it is damaged, or when its tensors are not those of the model that its header names.
        """
        tensors, header = reader.read(path)
        extras = {name: tensors.pop(name) for name in [*tensors] if name.startswith(reader.EXTRA_PREFIX)}
        mismatch = _state_mismatch(tensors, header.model)
        if mismatch:
            raise ArtifactError(path, f"its tensors are not those of the model it names: {mismatch}")
        model = GPT(header.model, ctx.attention)
        if extras:
            from golf.compression import stored_weights

            state_dict = stored_weights.restore(path, tensors, extras)
        else:
            state_dict = quantized_tensor.dequantize_state_dict(tensors)
        model.load_state_dict(state_dict)
        return cls(model.to(ctx.device), ctx, eval_batch_tokens=eval_batch_tokens, header=header)

    def reset(
        self,
        *,
        stride: int,
        ttt_cfg: TTTSettings | None = None,
        memory_cfg: MemorySettings | None = None,
        n_chunks: int = 1,
        order: str = "stream",
    ) -> Self:
        self.model.load_state_dict(self.initial_weights)
        self._stride = stride
        has_tilt = memory_cfg is not None and memory_cfg.tilt_order is not None
        self._scorer.keeps_states = memory_cfg is not None and memory_cfg.cache_tokens is not None
        self._scorer.warm_up(stride=stride, has_hints=has_tilt)
        self.learner, self.adapters, self.cache, self.memory, self.tilt = None, None, None, None, None
        self._source = self._make_source(self._scorer, order)
        if ttt_cfg is not None and ttt_cfg.method == "score_first":
            from golf.inference.score_first_sgd import ScoreFirstSGD

            states = self._learner_states if self._scorer.keeps_states else None
            self.learner = ScoreFirstSGD(self.model, ttt_cfg, self._ctx, n_chunks=n_chunks, states=states)
        if ttt_cfg is not None and ttt_cfg.phased is not None:
            from golf.inference.phased_sgd import PhasedSGD

            self.learner = PhasedSGD(self.model, ttt_cfg, self._ctx)
        if ttt_cfg is not None and ttt_cfg.lora is not None:
            from golf.inference.lora import DocumentLoRA

            eager = Scorer(
                self.model, dataclasses.replace(self._ctx, compile=False), eval_batch_tokens=self._eval_batch_tokens
            )
            eager.keeps_states = self._scorer.keeps_states
            scorers = self._source, self._make_source(eager, order)
            self._source = self.adapters = DocumentLoRA(self.model, ttt_cfg, self._ctx, *scorers)
        if memory_cfg is not None and memory_cfg.cache_tokens is not None:
            from golf.inference.neural_cache import NeuralCache

            self.cache = NeuralCache(memory_cfg, self.model.cfg.d_model)
        if memory_cfg is not None and memory_cfg.orders:
            from golf.inference.ngram_memory import NgramMemory

            if memory_cfg.scope == "document":
                from golf.inference.document_memory import DocumentMemory

                self.memory = DocumentMemory(lambda: NgramMemory(memory_cfg))
            else:
                self.memory = NgramMemory(memory_cfg)
        if memory_cfg is not None and has_tilt:
            from golf.inference.token_tilt import TokenTilt

            self.tilt = TokenTilt(memory_cfg, self._score_untilted)
        return self

    def _make_source(self, scorer: Scorer, order: str) -> "Scorer | DocumentScorer":
        if order == "stream":
            return scorer
        from golf.inference.document_scorer import DocumentScorer

        return DocumentScorer(scorer)

    def score(self, prefix: np.ndarray, chunk: np.ndarray) -> np.ndarray:
        return self._score_untilted(prefix, chunk) if self.tilt is None else self.tilt.score(prefix, chunk)

    def _score_untilted(self, prefix: np.ndarray, chunk: np.ndarray, hints: np.ndarray | None = None) -> np.ndarray:
        """The nll of each token of ``chunk`` by model and memory [n], with ``hints`` also theirs [2, n]."""
        mix = self._make_mix(prefix, chunk, hints)
        nll = self._source.score(prefix, chunk, stride=self._stride, hints=hints, mix=mix)
        if self.memory is None:
            return nll
        if hints is None:
            return self.memory.mix_nll(prefix, chunk, nll)
        return self.memory.mix_pair_nll(prefix, chunk, hints, nll)

    def _make_mix(self, prefix: np.ndarray, chunk: np.ndarray, hints: np.ndarray | None) -> "Mix | None":
        """What mixes the nll of a window of ``chunk`` with the cache; None without one."""
        cache = self.cache
        if cache is None:
            return None
        stream = np.append(prefix, chunk)

        def mix(end: int, nll: np.ndarray, states: np.ndarray) -> np.ndarray:
            own_hints = None if hints is None else hints[end - nll.shape[-1] : end]
            return cache.mix_nll(stream[: len(prefix) + end], nll, states, own_hints)

        return mix

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        log_probs, states = self._source.predict(prefix, stride=self._stride)
        if self.cache is not None:
            log_probs = self.cache.mix_log_probs(prefix, log_probs, states)
        if self.memory is not None:
            log_probs = self.memory.mix_log_probs(prefix, log_probs)
        return log_probs if self.tilt is None else self.tilt.tilt_log_probs(prefix, log_probs)

    def update(self, scored_chunk: ScoredChunk) -> None:
        if self.tilt is not None:
            self.tilt.learn(scored_chunk)  # before the rest: its hedge may have to score a part of the chunk
        has_new_weights = self.learner is not None and self.learner.train_on_chunk(scored_chunk)
        if self.cache is not None and not scored_chunk.is_last:
            self.cache.learn(scored_chunk, self._collect_states(scored_chunk.tokens))
        if self.adapters is not None:
            if has_new_weights:
                self.adapters.restart()
            self.adapters.train_on_chunk(scored_chunk)
        if self.memory is not None:
            self.memory.learn(scored_chunk)

    def _collect_states(self, tokens: np.ndarray) -> np.ndarray:
        """The states that predict each token after the first: fp32 [n, D], those of the learner first."""
        parts = [states.flatten(0, 1).cpu().numpy() for states in self._learner_states]
        self._learner_states.clear()
        n_known = sum(map(len, parts))
        if n_known < len(tokens) - 1:
            parts.append(self._scorer.compute_states(tokens[n_known:]))
        return np.concatenate(parts)


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
