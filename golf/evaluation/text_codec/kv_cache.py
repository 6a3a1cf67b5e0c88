"""One token at a time through a GPT whose keys and values are kept: the same network as ``golf.model.gpt``, faster.

A window's first tokens run through the model itself, whose attention is watched for keys and values. Each later token
is one row: its matrix products are torch's, on the threads that torch is set to, and what lies between them is NumPy's
on the same memory, because an operator of torch takes longer to start than such a row to compute.

The result equals the batched forward pass up to rounding, for every ModelConfig. It is for a CPU in fp32.
"""

# D width, H query heads, G key/value heads, R = H / G, E head width, F hidden width of the MLP, T = context_length,
# V vocabulary, n tokens of the window so far

import contextlib
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from golf.model.gpt import GPT

__all__ = ["KVCacheModel"]

_EPS = float(np.finfo(np.float32).eps)  # what torch's rms_norm adds to the mean square
_NORMALIZE_EPS = 1e-12  # the least norm of torch's normalize


class _LayerWeights:
    """A block's weights as the step uses them: scales multiplied in, queries, keys and values as one matrix."""

    def __init__(self, model: GPT, layer: int) -> None:
        block = model.blocks[layer]
        scale, attn, mlp = 1 / math.sqrt(layer + 1), block.attn, block.mlp
        n_heads, head_dim = model.cfg.n_heads, model.cfg.head_dim
        self.mix_x, self.mix_x0 = (row.numpy() for row in block.resid_mix.detach())
        self.qkv = torch.cat([attn.c_q.weight, attn.c_k.weight, attn.c_v.weight]).detach() * scale
        gains = torch.cat([attn.q_gain.detach() / math.sqrt(head_dim), torch.ones(model.cfg.n_kv_heads)])
        self.head_gains = gains[:, None].numpy()
        self.attn_out = attn.proj.weight.detach() * block.attn_scale.detach()[:, None]
        self.mlp_in = mlp.fc.weight.detach() * scale
        self.mlp_out = mlp.proj.weight.detach() * block.mlp_scale.detach()[:, None]
        self.is_parallel, self.use_xsa = layer >= model.cfg.parallel_residual_from, layer >= model.cfg.xsa_from
        self.n_heads = n_heads


class KVCacheModel:
    """Distributions of a stream's next tokens, window by window.

    ``refresh`` after the model's weights have changed, ``begin_window`` with the window's first tokens, then ``step``
    with each further one.
    """

    def __init__(self, model: GPT) -> None:
        cfg = model.cfg
        self._model, self._cfg = model, cfg
        encoder, decoder = cfg.layer_order(recurrent=True)
        self._encoder, self._decoder = encoder, decoder
        shape = len(encoder) + len(decoder), cfg.n_kv_heads, cfg.context_length, cfg.head_dim
        self._keys, self._values = torch.zeros(shape), torch.zeros(shape)
        self._cos, self._sin = model.rope_cos.numpy(), model.rope_sin.numpy()
        self._qkv = torch.empty(cfg.d_model + 2 * cfg.n_kv_heads * cfg.head_dim)
        self._normed, self._out = torch.empty(cfg.d_model), torch.empty(cfg.d_model)
        self._hidden, self._logits = torch.empty(cfg.d_ff), torch.empty(cfg.vocab_size)
        self._document_start = self._n_tokens = 0  # both in the window
        self.refresh()

    def refresh(self) -> None:
        """Take over the model's present weights. The window must be begun anew."""
        model = self._model
        self._layers = [_LayerWeights(model, layer) for layer in range(self._cfg.n_layers)]
        self._embedding = model.tok_emb.weight.detach()
        gates = torch.sigmoid(model.skip_gates.detach())
        self._skip_shares, self._gates = ((1 - gates) * model.skip_weights.detach()).numpy(), gates.numpy()
        self._n_tokens = 0

    @torch.no_grad()
    def begin_window(self, tokens: np.ndarray) -> None:
        """Forget the window so far and begin one with these tokens, fewer than the context holds; none is allowed."""
        self._document_start, self._n_tokens = 0, len(tokens)
        if not len(tokens):
            return
        if self._cfg.doc_mask_bos_id is not None:
            starts = np.flatnonzero(tokens == self._cfg.doc_mask_bos_id)
            self._document_start = int(starts[-1]) if len(starts) else 0
        with _watch_attention(self._model) as calls:
            self._model(torch.from_numpy(tokens.astype(np.int64))[None], recurrent=True, last_n=1)
        for index, (k_1TGE, v_1TGE) in enumerate(calls):
            self._keys[index, :, : len(tokens)] = k_1TGE[0].transpose(0, 1)
            self._values[index, :, : len(tokens)] = v_1TGE[0].transpose(0, 1)

    @torch.no_grad()
    def step(self, token: int) -> np.ndarray:
        """Add a token to the window; the soft-capped logits of the token after it: fp32 [V], valid until the next step.

        Raises IndexError when the window is full.
        """
        if self._n_tokens == self._cfg.context_length:
            raise IndexError(f"the window of {self._cfg.context_length} tokens is full")
        if token == self._cfg.doc_mask_bos_id:
            self._document_start = self._n_tokens
        embedded = self._embedding[token].numpy()
        x = x0 = embedded * _inverse_rms(embedded)
        skips = []
        for index, layer in enumerate(self._encoder):
            x = self._run_block(self._layers[layer], index, x, x0)
            skips.append(x)
        for position, layer in enumerate(self._decoder):
            if skips:
                x = self._skip_shares[position] * skips.pop() + self._gates[position] * x
            x = self._run_block(self._layers[layer], len(self._encoder) + position, x, x0)
        self._n_tokens += 1
        logits = self._multiply(self._embedding, x * _inverse_rms(x), self._logits)
        logits /= self._cfg.softcap
        np.tanh(logits, out=logits)
        logits *= self._cfg.softcap
        return logits

    def _multiply(self, matrix: torch.Tensor, row: np.ndarray, out: torch.Tensor) -> np.ndarray:
        torch.mv(matrix, torch.from_numpy(row), out=out)
        result: np.ndarray = out.numpy()
        return result

    def _run_block(self, weights: _LayerWeights, index: int, x: np.ndarray, x0: np.ndarray) -> np.ndarray:
        """A block's output for one row. index: of the call, as a repeated layer keeps keys for each of its passes."""
        x = weights.mix_x * x + weights.mix_x0 * x0
        normed = x * _inverse_rms(x)
        attended = self._multiply(weights.attn_out, self._attend(weights, index, normed), self._out)
        if weights.is_parallel:
            x += attended
            x += self._run_mlp(weights, normed)
            return x
        x += attended
        x += self._run_mlp(weights, x * _inverse_rms(x))
        return x

    def _run_mlp(self, weights: _LayerWeights, normed: np.ndarray) -> np.ndarray:
        hidden = self._multiply(weights.mlp_in, normed, self._hidden)
        slope = self._cfg.leaky_slope
        leaked = hidden * slope
        hidden = np.maximum(hidden, leaked) if slope <= 1 else np.minimum(hidden, leaked)
        hidden *= hidden
        return self._multiply(weights.mlp_out, hidden, self._out)

    def _attend(self, weights: _LayerWeights, index: int, normed: np.ndarray) -> np.ndarray:
        """The heads' outputs, [D]; the row's key and value are kept."""
        cfg, n = self._cfg, self._n_tokens
        heads = self._multiply(weights.qkv, normed, self._qkv).reshape(-1, cfg.head_dim)  # H + 2 G rows
        qk, v_GE = heads[: -cfg.n_kv_heads], heads[-cfg.n_kv_heads :]
        mean_squares = np.einsum("he,he->h", qk, qk)[:, None] / cfg.head_dim
        qk = qk * (weights.head_gains / np.sqrt(mean_squares + _EPS))
        half = cfg.rope_dims // 2
        if half:
            cos, sin = self._cos[n], self._sin[n]
            a, b = qk[:, :half], qk[:, half : 2 * half]
            rotated = a * cos + b * sin
            qk[:, half : 2 * half] = b * cos - a * sin
            qk[:, :half] = rotated
        qk_tensor = torch.from_numpy(qk)
        keys, values = self._keys[index], self._values[index]
        keys[:, n] = qk_tensor[cfg.n_heads :]
        values.numpy()[:, n] = v_GE
        first = self._document_start
        q_GRE = qk_tensor[: cfg.n_heads].view(cfg.n_kv_heads, -1, cfg.head_dim)
        scores = torch.bmm(q_GRE, keys[:, first : n + 1].mT).numpy()
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        y_GRE = torch.bmm(torch.from_numpy(scores), values[:, first : n + 1]).numpy()
        y_GRE /= scores.sum(-1, keepdims=True)
        if weights.use_xsa:
            norms = np.sqrt(np.einsum("ge,ge->g", v_GE, v_GE))
            unit_GE = v_GE / np.maximum(norms, _NORMALIZE_EPS)[:, None]
            y_GRE -= np.einsum("gre,ge->gr", y_GRE, unit_GE)[:, :, None] * unit_GE[:, None]
        return y_GRE.reshape(-1)


def _inverse_rms(x: np.ndarray) -> float:
    return 1 / math.sqrt(float(np.einsum("d,d->", x, x)) / len(x) + _EPS)


@contextlib.contextmanager
def _watch_attention(model: GPT) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """A list that gets the keys and values [1, T, G, E] of every call of attention, in the order of the calls."""
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watched(attention_fn: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def attention(
            q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, doc_ids: torch.Tensor | None = None
        ) -> torch.Tensor:
            calls.append((k, v))
            return attention_fn(q, k, v, doc_ids)

        return attention

    originals = [block.attn.attention_fn for block in model.blocks]
    try:
        for block, original in zip(model.blocks, originals, strict=True):
            block.attn.attention_fn = watched(original)
        yield calls
    finally:
        for block, original in zip(model.blocks, originals, strict=True):
            block.attn.attention_fn = original
