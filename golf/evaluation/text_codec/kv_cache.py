"""One token at a time through a GPT whose keys and values are kept: the same network as ``golf.model.gpt``, faster.

A window's first tokens run through the model itself, whose attention is watched for keys and values. Each later token
is one row of NumPy's on the weights' own memory, in buffers that are reused, because for one row starting an operator
of torch takes longer than its arithmetic. All of it runs on one thread: two would wait for each other at every product.

The result equals the batched forward pass up to rounding, for every ModelConfig. It is for a CPU in fp32.
"""

# D width, H query heads, G key/value heads, R = H / G, E head width, F hidden width of the MLP, T = context_length,
# V vocabulary, C calls of a layer, L layers

import contextlib
import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from golf.model.gpt import GPT

__all__ = ["KVCacheModel"]

_EPS = float(np.finfo(np.float32).eps)  # what torch's rms_norm adds to the mean square
_MIN_SQUARE = 1e-24  # the square of the least norm by which torch's normalize divides
_SAFE_SCORE = 60.0  # exp of it and sums of that are finite in fp32
_MAX_BLOCK_WEIGHTS = 6144  # OpenBLAS multiplies a matrix of 9,216 weights or more with a row on several threads


class _Matrix:
    """A weight [N, D] as blocks of rows, so small that each product with a row is made on one thread."""

    def __init__(self, weight: torch.Tensor) -> None:
        n_rows, width = weight.shape
        fitting = (n for n in range(1, n_rows + 1) if n_rows % n == 0 and n * width <= _MAX_BLOCK_WEIGHTS)
        self._blocks: np.ndarray = weight.detach().contiguous().numpy().reshape(-1, max(fitting, default=1), width)

    def multiply(self, row_D: np.ndarray, out_N: np.ndarray) -> None:
        """Write the product with a row into ``out_N``, which must be contiguous."""
        np.matmul(self._blocks, row_D, out=out_N.reshape(self._blocks.shape[:2]))


def _zeros(*shape: int) -> np.ndarray:
    """Zeros in memory of torch's, which begins at a cache line in every process."""
    zeros: np.ndarray = torch.zeros(shape).numpy()
    return zeros


class _LayerWeights:
    """A block's weights as a step uses them: scales multiplied in, queries, keys and values as one matrix.

    Of each query and key head the rotated dimensions j and j + rope_dims / 2 become neighbors, the real and imaginary
    part of a complex number. ``order`` are the dimensions of a head in that order.
    """

    def __init__(self, model: GPT, layer: int, order: np.ndarray) -> None:
        cfg, block = model.cfg, model.blocks[layer]
        scale, attn, mlp = 1 / math.sqrt(layer + 1), block.attn, block.mlp
        self.mix = block.resid_mix.detach()[0].numpy()
        qk = torch.cat([attn.c_q.weight, attn.c_k.weight]).detach().view(-1, cfg.head_dim, cfg.d_model)
        self.qkv = _Matrix(torch.cat([qk[:, order].flatten(0, 1), attn.c_v.weight.detach()]) * scale)
        gains = attn.q_gain.detach()
        key_gains = torch.full((cfg.n_kv_heads,), math.sqrt(cfg.head_dim))  # heads are divided by their norm alone
        self.qk_gains = torch.cat([gains, key_gains])[:, None].numpy()
        self.is_safe = float(gains.abs().max()) * math.sqrt(cfg.head_dim) < _SAFE_SCORE
        self.attn_out = _Matrix(attn.proj.weight.detach() * block.attn_scale.detach()[:, None])
        self.mlp_in = _Matrix(mlp.fc.weight.detach() * scale)
        self.mlp_out = _Matrix(mlp.proj.weight.detach() * block.mlp_scale.detach()[:, None])
        self.is_parallel, self.use_xsa = layer >= cfg.parallel_residual_from, layer >= cfg.xsa_from
        self.taps = None if block.conv is None else block.conv.taps.detach().numpy()
        self.gate = None if attn.gate is None else _GateWeights(attn.gate, scale)
        self.lanes: tuple[np.ndarray, np.ndarray] | None = None
        if block.lanes is not None:
            self.lanes = block.lanes.residual.detach().numpy(), block.lanes.posts.detach().numpy()


class _GateWeights:
    """An attention gate of inputs that are normalized but not yet scaled."""

    def __init__(self, gate: torch.nn.Module, input_scale: float) -> None:
        weight = gate.proj.weight if gate.is_dense else gate.narrow
        self._weight = weight.detach().numpy() * np.float32(input_scale)
        self._bias = gate.proj.bias.detach().numpy() if gate.is_dense else np.float32(0)
        self._scale = np.float32(gate.scale)

    def compute(self, normed: np.ndarray) -> np.ndarray:
        """Return the gate of each query head: fp32 [H]."""
        return self._scale / (1 + np.exp(-(self._weight @ normed[: self._weight.shape[1]] + self._bias)))


class KVCacheModel:
    """Logits of a stream's next tokens, window by window.

    ``refresh`` after the model's weights have changed, ``begin_window`` with the window's first tokens, then ``step``
    with each further one.
    """

    def __init__(self, model: GPT) -> None:
        cfg = model.cfg
        self._model, self._cfg, self._half = model, cfg, cfg.rope_dims // 2
        self._encoder, self._decoder = cfg.layer_order(recurrent=True)
        pairs = np.arange(cfg.rope_dims).reshape(2, self._half).T.ravel()
        self._order = np.concatenate([pairs, np.arange(cfg.rope_dims, cfg.head_dim)])
        self._turns = (model.rope_cos - 1j * model.rope_sin).numpy()  # complex [T, rope_dims / 2]
        n_qk, n_calls = cfg.n_heads + cfg.n_kv_heads, len(self._encoder) + len(self._decoder)
        self._heads = _zeros(n_qk + cfg.n_kv_heads, cfg.head_dim)
        self._qk, self._keys_and_values = self._heads[:n_qk], self._heads[cfg.n_heads :]
        self._queries = self._heads[: cfg.n_heads].reshape(cfg.n_kv_heads, -1, cfg.head_dim)
        self._v = self._heads[n_qk:, None]
        self._rotated = self._qk[:, : cfg.rope_dims]
        self._x, self._normed, self._y, self._lane1 = (_zeros(cfg.d_model) for _ in range(4))
        self._branches = _zeros(2, cfg.d_model)  # of attention and of the MLP
        self._y_heads = self._y.reshape(self._queries.shape)
        self._hidden, self._leaked, self._logits = _zeros(cfg.d_ff), _zeros(cfg.d_ff), _zeros(cfg.vocab_size)
        # The column behind each head is 1: a sum of values weighed by exponentials then holds that of the exponentials.
        self._cache = np.ones((n_calls, cfg.context_length, 2 * cfg.n_kv_heads, cfg.head_dim + 1), np.float32)
        self._conv_rows = _zeros(n_calls, cfg.conv_kernel - 1, cfg.d_model)  # inputs of convolutions, the newest first
        self._states = _zeros(cfg.context_length, cfg.d_model)
        self._document_start = self._n_tokens = self._last_token = 0  # all of the window
        self.refresh()

    def refresh(self) -> None:
        """Take over the model's present weights. The window must start again afterward."""
        model = self._model
        self._layers = [_LayerWeights(model, layer, self._order) for layer in range(self._cfg.n_layers)]
        self._embedding, self._embedding_rows = _Matrix(model.tok_emb.weight), model.tok_emb.weight.detach().numpy()
        self._mixes_of_x0 = torch.stack([block.resid_mix.detach()[1] for block in model.blocks]).numpy()  # [L, D]
        gates = torch.sigmoid(model.skip_gates.detach())
        self._skip_shares, self._gates = ((1 - gates) * model.skip_weights.detach()).numpy(), gates.numpy()
        self._softcaps = model.softcaps.tolist() if self._cfg.asym_softcap else [self._cfg.softcap]
        if model.smear is not None:
            self._smear_inputs, self._smear_strength = model.smear.inputs.detach().numpy(), model.smear.strength.item()
        self._n_tokens = 0

    @torch.no_grad()
    def begin_window(self, tokens: np.ndarray) -> None:
        """Forget the window so far and begin one with these tokens, fewer than the context holds; none is allowed."""
        self._document_start, self._n_tokens = 0, len(tokens)
        if not len(tokens):
            return
        self._last_token = int(tokens[-1])
        if self._cfg.doc_mask_bos_id is not None:
            starts = np.flatnonzero(tokens == self._cfg.doc_mask_bos_id)
            self._document_start = int(starts[-1]) if len(starts) else 0
        self._conv_rows[:] = 0
        with _watch_attention(self._model) as calls, _watch_convolutions(self._model) as rows:
            states = self._model(torch.from_numpy(tokens.astype(np.int64))[None], recurrent=True)
        self._states[: len(tokens)] = states[0].numpy()
        n_keys = self._cfg.n_kv_heads
        for cache, (k_1TGE, v_1TGE) in zip(self._cache, calls, strict=True):
            cache[: len(tokens), :n_keys, :-1] = k_1TGE[0].numpy()[:, :, self._order]
            cache[: len(tokens), n_keys:, :-1] = v_1TGE[0].numpy()
        for kept, x_1TD in zip(self._conv_rows, rows, strict=False):
            kept[: len(tokens)] = x_1TD[0].flip(0)[: len(kept)].numpy()

    @torch.no_grad()
    def step(self, token: int) -> np.ndarray:
        """Add a token to the window; return the soft-capped logits after it: fp32 [V], valid until the next step.

        Raises IndexError when the window is full.
        """
        if self._n_tokens == self._cfg.context_length:
            raise IndexError(f"the window of {self._cfg.context_length} tokens is full")
        if token == self._cfg.doc_mask_bos_id:
            self._document_start = self._n_tokens
        x = self._x
        embedded = self._embed(token)
        np.multiply(embedded, _inverse_rms(embedded), x)
        mixed_x0 = self._mixes_of_x0 * x
        skips = []
        for call, layer in enumerate(self._encoder):
            self._run_block(layer, call, mixed_x0[layer])
            skips.append(x.copy())
        for position, layer in enumerate(self._decoder):
            if skips:
                np.multiply(x, self._gates[position], x)
                np.add(x, self._skip_shares[position] * skips.pop(), x)
            if layer == self._cfg.two_lane_from:
                self._lane1[:] = x
            self._run_block(layer, len(self._encoder) + position, mixed_x0[layer])
        if self._cfg.two_lane_from is not None:
            np.add(x, self._lane1, x)
            np.multiply(x, 0.5, x)
        np.multiply(x, _inverse_rms(x), self._normed)
        self._states[self._n_tokens] = self._normed
        self._n_tokens, self._last_token = self._n_tokens + 1, token
        logits, softcap = self._logits, self._softcaps[0]
        self._embedding.multiply(self._normed, logits)
        if len(self._softcaps) == 2:
            softcap = np.where(logits >= 0, np.float32(self._softcaps[0]), np.float32(self._softcaps[1]))
        np.multiply(logits, 1 / softcap, logits)
        np.tanh(logits, logits)
        np.multiply(logits, softcap, logits)
        return logits

    @property
    def states(self) -> np.ndarray:
        """The normalized outputs at the window's positions so far: fp32 [k, D], valid until the next step."""
        return self._states[: self._n_tokens]

    def _embed(self, token: int) -> np.ndarray:
        """Return the token's raw embedding row [D], with its share of the row before."""
        row = self._embedding_rows[token]
        if self._model.smear is None or not self._n_tokens or token == self._cfg.smear_gate_bos_id:
            return row
        z = float(np.dot(row[: len(self._smear_inputs)], self._smear_inputs))
        return row + np.float32(self._smear_strength / (1 + math.exp(-z))) * self._embedding_rows[self._last_token]

    def _run_block(self, layer: int, call: int, mixed_x0: np.ndarray) -> None:
        """Turn the row x into the block's output. call: its number, as a repeated layer keeps keys for each pass."""
        weights, x, normed, (attn_out, mlp_out) = self._layers[layer], self._x, self._normed, self._branches
        lane0 = x if weights.lanes is None else x.copy()
        np.multiply(x, weights.mix, x)
        np.add(x, mixed_x0, x)
        np.multiply(x, _inverse_rms(x), normed)
        if weights.taps is not None:
            self._convolve(weights.taps, self._conv_rows[call])
        weights.qkv.multiply(normed, self._heads)
        self._attend(weights, call)
        weights.attn_out.multiply(self._y, attn_out)
        if weights.lanes is not None:
            self._mix_lanes(weights, *weights.lanes, lane0)
            return
        np.add(x, attn_out, x)
        if not weights.is_parallel:
            np.multiply(x, _inverse_rms(x), normed)
        self._run_mlp(weights)
        np.add(x, mlp_out, x)

    def _convolve(self, taps: np.ndarray, rows: np.ndarray) -> None:
        """Mix the rows of this call's last tokens into the normalized row, and keep that for the next ones."""
        n_seen, kept = self._n_tokens - self._document_start, np.stack([self._normed, *rows[:-1]])
        self._normed += (taps[:n_seen] * rows[:n_seen]).sum(0)
        rows[:] = kept

    def _run_mlp(self, weights: _LayerWeights) -> None:
        """Compute the MLP's branch of the normalized row."""
        hidden, leaked, slope = self._hidden, self._leaked, self._cfg.leaky_slope
        weights.mlp_in.multiply(self._normed, hidden)
        np.multiply(hidden, slope, leaked)
        (np.maximum if slope <= 1 else np.minimum)(hidden, leaked, out=hidden)
        np.multiply(hidden, hidden, hidden)
        weights.mlp_out.multiply(hidden, self._branches[1])

    def _mix_lanes(self, weights: _LayerWeights, residual: np.ndarray, posts: np.ndarray, lane0: np.ndarray) -> None:
        """Run the MLP on the second lane, and write both outputs into both lanes; the first becomes the row x."""
        lane1 = self._lane1
        np.multiply(lane1, _inverse_rms(lane1), self._normed)
        self._run_mlp(weights)
        written = posts.T @ self._branches
        np.add(residual[0] * lane0, written[0], self._x)
        np.add(residual[1] * lane1, written[1], lane1)

    def _attend(self, weights: _LayerWeights, call: int) -> None:
        """Replace y by the heads' outputs; the row's keys and values are kept."""
        heads, qk, n_keys = self._heads, self._qk, self._cfg.n_kv_heads
        n, cache = self._n_tokens, self._cache[call]
        squares = np.vecdot(heads, heads)[:, None]
        qk_squares = squares[: len(qk)] + self._cfg.head_dim * _EPS
        np.multiply(qk, weights.qk_gains / np.sqrt(qk_squares, qk_squares), qk)
        if self._half:
            turned = np.ascontiguousarray(self._rotated).view(np.complex64)
            self._rotated[:] = np.multiply(turned, self._turns[n]).view(np.float32)
        cache[n, :, :-1] = self._keys_and_values
        seen = cache[self._document_start : n + 1]
        scores_GRN = np.matmul(self._queries, seen[:, :n_keys, :-1].transpose(1, 2, 0))
        if not weights.is_safe:
            scores_GRN -= scores_GRN.max(-1, keepdims=True)
        np.exp(scores_GRN, scores_GRN)
        sums_GRE1 = np.matmul(scores_GRN, seen[:, n_keys:].transpose(1, 0, 2))
        y_GRE = sums_GRE1[:, :, :-1]
        if weights.use_xsa:
            along_v = np.vecdot(y_GRE, self._v) / np.maximum(squares[len(qk) :], _MIN_SQUARE)
            y_GRE -= along_v[:, :, None] * self._v
        np.divide(y_GRE, sums_GRE1[:, :, -1:], self._y_heads)
        if weights.gate is not None:
            self._y_heads *= weights.gate.compute(self._normed).reshape(*self._y_heads.shape[:2], 1)


def _inverse_rms(x: np.ndarray) -> float:
    return 1 / math.sqrt(float(np.dot(x, x)) / len(x) + _EPS)


@contextlib.contextmanager
def _watch_convolutions(model: GPT) -> Iterator[list[torch.Tensor]]:
    """A list that gets each call's input of a convolution [1, T, D], in their order, without the layer's scale."""
    calls: list[torch.Tensor] = []
    with contextlib.ExitStack() as handles:
        for layer, block in enumerate(model.blocks):
            if block.conv is not None:
                watch = functools.partial(
                    lambda scale, _, inputs: calls.append(inputs[0] * scale), math.sqrt(layer + 1)
                )
                handles.enter_context(block.conv.register_forward_pre_hook(watch))
        yield calls


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
