"""Low-rank adapters that learn within one document from its scored chunks (PRs #1530, #1767, #1915, #2135).

For each block as it runs, so for each pass of a repeated one, and for the logits, an adapter adds

    Δ(x) = (alpha / rank) B A x,    A [rank, in] ~ U(±1 / sqrt(in)),    B [out, rank] = 0,

so that nothing changes before the first step. q, k and v: the block's normalized input, added to the product before
heads are normalized. o: the same input, added to the attention's output. mlp: the MLP's input, added to its output.
head: the last hidden state, added to the logits before the soft cap. docs/references.md#lora-ttt has the recipe.
"""

# R windows (rows), T = context_length, n targets

import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from golf.distributed.context import DistContext
from golf.inference.interface import LoRASettings, ScoredChunk, TTTSettings
from golf.inference.scorer import Mix, Scorer, shift_mix
from golf.model.gpt import GPT

if TYPE_CHECKING:
    from golf.inference.document_scorer import DocumentScorer

__all__ = ["Adapters", "DocumentLoRA"]

_EPS = 1e-10  # AdamW's, as in #2135
_HEAD = -1  # the place of the logits' adapter; blocks count from 0 in the order in which they run


class Adapters:
    """One document's adapters: ``pairs`` holds (A, B) by place and name."""

    def __init__(self, model: GPT, cfg: LoRASettings) -> None:
        self._model, self._scale = model, cfg.alpha / cfg.rank
        d_model, kv_dim = model.cfg.d_model, model.cfg.n_kv_heads * model.cfg.head_dim
        widths = {"q": d_model, "k": kv_dim, "v": kv_dim, "o": d_model, "mlp": d_model}
        places = range(sum(map(len, model.cfg.layer_order(recurrent=True))))
        outputs = {(place, name): width for place in places for name, width in widths.items() if getattr(cfg, name)}
        if cfg.head:
            outputs[_HEAD, "head"] = model.cfg.vocab_size
        zeros = model.tok_emb.weight.new_zeros
        self.pairs = {key: (zeros(cfg.rank, d_model), zeros(width, cfg.rank)) for key, width in outputs.items()}
        self.weights = [weight.requires_grad_() for pair in self.pairs.values() for weight in pair]

    @torch.no_grad()
    def draw(self, seed: int) -> None:
        """Draw A anew and set B to 0."""
        rng = torch.Generator().manual_seed(seed)
        for down, up in self.pairs.values():
            down.copy_((2 * torch.rand(down.shape, generator=rng) - 1) / down.shape[1] ** 0.5)
            up.zero_()

    def _add(self, key: tuple[int, str], x: torch.Tensor) -> torch.Tensor:
        down, up = self.pairs[key]
        return self._scale * F.linear(F.linear(x, down), up)

    @contextlib.contextmanager
    def apply(self) -> Iterator[None]:
        """Let the model's forward pass add the adapters within this context."""
        place = -1

        def begin_pass(*_args: object) -> None:
            nonlocal place
            place = -1

        def begin_block(*_args: object) -> None:
            nonlocal place
            place += 1

        def hook(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]:
            def add(_module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
                x = inputs[0][:, inputs[0].shape[1] - output.shape[1] :]  # outputs may be of the last positions alone
                return output + self._add((place, name), x).to(output.dtype)

            return add

        names = {name for _, name in self.pairs}
        handles = [self._model.register_forward_pre_hook(begin_pass)]
        for block in self._model.blocks:
            handles.append(block.register_forward_pre_hook(begin_block))
            modules = {"q": block.attn.c_q, "k": block.attn.c_k, "v": block.attn.c_v, "o": block.attn, "mlp": block.mlp}
            handles += [module.register_forward_hook(hook(name)) for name, module in modules.items() if name in names]
        if "head" in names:
            self._model.head_adapter = lambda hidden: self._add((_HEAD, "head"), hidden)
        try:
            yield
        finally:
            self._model.head_adapter = None
            for handle in handles:
                handle.remove()


class DocumentLoRA:
    """Scores with a document's adapters, and lets them learn from the document's sealed chunks by AdamW.

    Adapters and moments begin anew with each document, so no document affects another. The stream's first token starts
    each document. A is drawn from the seed and the document's first chunk, so the draws do not depend on where the
    document stands. Every rank takes the same steps.
    """

    def __init__(
        self,
        model: GPT,
        cfg: TTTSettings,
        ctx: DistContext,
        scorer: "Scorer | DocumentScorer",
        adapted_scorer: "Scorer | DocumentScorer",
    ) -> None:
        """scorer, adapted_scorer: of the model; the second runs uncompiled, as it is watched for the adapters."""
        assert cfg.lora is not None
        self._model, self._cfg, self._lora, self._ctx = model, cfg, cfg.lora, ctx
        self._lr = cfg.lr if cfg.phased is None else cfg.phased.lora_lr
        self._scorer, self._adapted_scorer = scorer, adapted_scorer
        self.adapters = Adapters(model, cfg.lora)
        self._bos, self._n_learned = 0, 1  # the stream's first token is given
        self._document = np.zeros(0, np.uint16)  # the end of the present one
        self.optimizer: torch.optim.AdamW | None = None  # None: the document has not been learned from

    def score(
        self,
        prefix: np.ndarray,
        chunk: np.ndarray,
        *,
        stride: int,
        hints: np.ndarray | None = None,
        mix: Mix | None = None,
    ) -> np.ndarray:
        """``Scorer.score``, with the adapters for the tokens of their document."""
        n_own = self._count_own(prefix, chunk)
        if not n_own:
            return self._scorer.score(prefix, chunk, stride=stride, hints=hints, mix=mix)
        own_hints, other_hints = (None if hints is None else hints[at] for at in (slice(n_own), slice(n_own, None)))
        with self.adapters.apply():
            nll = self._adapted_scorer.score(prefix, chunk[:n_own], stride=stride, hints=own_hints, mix=mix)
        if n_own == len(chunk):
            return nll
        before, rest = np.append(prefix, chunk[:n_own]), chunk[n_own:]
        others = self._scorer.score(before, rest, stride=stride, hints=other_hints, mix=shift_mix(mix, n_own))
        return np.concatenate([nll, others], -1)

    def predict(self, prefix: np.ndarray, *, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """``Scorer.predict``, with the adapters if the next token belongs to their document."""
        if not self._count_own(prefix, prefix[:1]):
            return self._scorer.predict(prefix, stride=stride)
        with self.adapters.apply():
            return self._adapted_scorer.predict(prefix, stride=stride)

    def _count_own(self, prefix: np.ndarray, chunk: np.ndarray) -> int:
        """How many tokens of ``chunk`` are of the document that the adapters have learned from, 0 before they have."""
        if self.optimizer is None or (prefix[self._n_learned :] == self._bos).any():
            return 0
        starts = np.flatnonzero(chunk == self._bos)
        return int(starts[0]) + 1 if len(starts) else len(chunk)

    def restart(self) -> None:
        """Forget what was learned of the present document."""
        self.optimizer = None

    def train_on_chunk(self, chunk: ScoredChunk) -> None:
        """Take ``epochs`` passes over the chunk's targets in the document that goes on after it.

        A step is on the mean nll of up to ``batch_tokens`` targets, in windows that begin within the document.
        Raises TypeError for anything but a ScoredChunk.
        """
        if not isinstance(chunk, ScoredChunk):
            raise TypeError(f"training takes a ScoredChunk, got {type(chunk).__name__}")
        tokens = chunk.tokens
        if chunk.index == 0:
            self._bos, self._document = int(tokens[0]), tokens[:1]
        self._n_learned += len(tokens) - 1
        starts = np.flatnonzero(tokens[1:] == self._bos) + 1
        if len(starts):
            self.restart()
            document, n_targets = tokens[starts[-1] :], len(tokens) - 1 - int(starts[-1])
        else:
            document, n_targets = np.append(self._document, tokens[1:]), len(tokens) - 1
        self._document = document[-self._model.cfg.context_length :]
        if chunk.is_last or not n_targets:
            return
        if self.optimizer is None:
            self.adapters.draw(self._lora.seed ^ zlib.crc32(document.astype("<u2").tobytes()))
            betas = self._lora.beta1, self._lora.beta2
            self.optimizer = torch.optim.AdamW(
                self.adapters.weights, self._lr, betas, eps=_EPS, weight_decay=self._lora.weight_decay
            )
        x_RT, y_RT, counts_RT = self._make_windows(document, n_targets)
        batch_rows = max(1, self._cfg.batch_tokens // x_RT.shape[1])
        for _ in range(self._cfg.epochs):
            for batch in zip(*(rows.split(batch_rows) for rows in (x_RT, y_RT, counts_RT)), strict=True):
                for weight, gradient in zip(self.adapters.weights, self.compute_gradient(*batch), strict=True):
                    weight.grad = gradient
                self.optimizer.step()

    def _make_windows(self, document: np.ndarray, n_targets: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(inputs, targets, which targets count) [R, T] of the last ``n_targets`` tokens, the newest window first."""
        length, last = self._model.cfg.context_length, len(document) - 1
        n_rows = -(-n_targets // length)  # rounded up
        x, y = np.zeros((n_rows, length), np.int64), np.zeros((n_rows, length), np.int64)
        counts = np.zeros((n_rows, length), bool)
        for row in range(n_rows):
            end = last - row * length
            start = max(0, end - length)
            x[row, : end - start], y[row, : end - start] = document[start:end], document[start + 1 : end + 1]
            counts[row, max(0, last - n_targets - start) : end - start] = True
        x_RT, y_RT, counts_RT = (torch.from_numpy(rows).to(self._ctx.device) for rows in (x, y, counts))
        return x_RT, y_RT, counts_RT

    def compute_gradient(
        self, x_RT: torch.Tensor, y_RT: torch.Tensor, counts_RT: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the gradients of the mean nll of the targets that count, by ``adapters.weights``."""
        with torch.enable_grad(), self.adapters.apply(), self._ctx.autocast():
            nll = self._model.nll(x_RT, y_RT, recurrent=True)
            loss = (nll * counts_RT).sum() / counts_RT.sum()
        return torch.autograd.grad(loss, self.adapters.weights)
