"""A plain GPT, its file and its scores: what the baseline of the scoreboard submits.

Pre-norm blocks with RMSNorm, multi-head attention with RoPE and an MLP with ReLU², a tied embedding, no biases. The
file holds each matrix as integers, a scale for each row, and each gain vector in fp16, as one Brotli stream.
"""

# B rows of a batch, T tokens of a window, D width, H heads, E head size, V vocabulary size

import json
import math
import struct

import brotli
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HEAD_SIZE = 32
_ROPE_BASE = 10000.0
_SIZE = struct.Struct("<I")


def _rotate(u_BHTE: torch.Tensor, cos_TE: torch.Tensor, sin_TE: torch.Tensor) -> torch.Tensor:
    first, second = u_BHTE.chunk(2, -1)
    return u_BHTE * cos_TE + torch.cat((-second, first), -1) * sin_TE


class Block(nn.Module):
    def __init__(self, d_model: int, n_layers: int):
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.up = nn.Linear(d_model, 4 * d_model, bias=False)
        self.down = nn.Linear(4 * d_model, d_model, bias=False)
        for linear in (self.qkv, self.out, self.up, self.down):
            scale = 1 / math.sqrt(2 * n_layers) if linear in (self.out, self.down) else 1.0
            nn.init.normal_(linear.weight, std=0.02 * scale)

    def forward(self, x_BTD, cos_TE, sin_TE):
        q, k, v = self.qkv(self.norm_attention(x_BTD)).unflatten(2, (3, -1, HEAD_SIZE)).permute(2, 0, 3, 1, 4)
        q, k = (_rotate(u, cos_TE, sin_TE).to(v.dtype) for u in (q, k))
        y_BHTE = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTD = x_BTD + self.out(y_BHTE.transpose(1, 2).flatten(2))
        return x_BTD + self.down(F.relu(self.up(self.norm_mlp(x_BTD))).square())


class PlainGPT(nn.Module):
    """context_length: the longest window that it sees."""

    def __init__(self, vocab_size: int, d_model: int, n_layers: int, context_length: int):
        super().__init__()
        self.shape = (vocab_size, d_model, n_layers, context_length)
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(d_model, n_layers) for _ in range(n_layers))
        self.norm = nn.RMSNorm(d_model)
        frequencies = _ROPE_BASE ** (-torch.arange(0, HEAD_SIZE, 2) / HEAD_SIZE)
        angles = (torch.arange(context_length)[:, None] * frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def nll(self, x_BT: torch.Tensor, y_BS: torch.Tensor) -> torch.Tensor:
        """The nll in nats of the targets y of the last S inputs: fp32 [B, S]."""
        x_BTD = self.embedding(x_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD, self.cos[: x_BT.size(1)], self.sin[: x_BT.size(1)])
        logits = F.linear(self.norm(x_BTD[:, -y_BS.size(1) :]), self.embedding.weight).float()
        return F.cross_entropy(logits.flatten(0, 1), y_BS.flatten(), reduction="none").view(y_BS.shape)


@torch.no_grad()
def score(model: PlainGPT, tokens: np.ndarray, stride: int, batch_tokens: int) -> np.ndarray:
    """The nll in nats of tokens[1:]: fp32 [n - 1]. stride: new targets of a window; all of them for plain windows.

    The first window scores all its targets, a later one its last ``stride``.
    """
    ids = torch.from_numpy(tokens.astype(np.int64)).to(model.embedding.weight.device)
    n_targets = len(tokens) - 1
    length = min(model.shape[3], n_targets)
    nll = torch.zeros(n_targets)
    nll[:length] = model.nll(ids[None, :length], ids[None, 1 : length + 1])[0]
    scored = length
    stops = torch.arange(length + stride, n_targets + stride, stride).clamp_max(n_targets)
    for batch in stops.split(max(1, batch_tokens // length)):
        windows = ids[batch[:, None].to(ids.device) + torch.arange(-length, 1, device=ids.device)]
        for stop, row in zip(batch.tolist(), model.nll(windows[:, :-1], windows[:, -stride:]).cpu(), strict=True):
            nll[scored:stop] = row[scored - stop :]
            scored = stop
    return nll.numpy()


def unpack(data: bytes) -> PlainGPT:
    """The model of a file, in fp32."""
    data = brotli.decompress(data)
    (n_header,) = _SIZE.unpack_from(data)
    header = json.loads(data[_SIZE.size : _SIZE.size + n_header])
    model, position, state = PlainGPT(*header), _SIZE.size + n_header, {}
    for name, tensor in model.state_dict().items():
        n_rows = tensor.shape[0]
        scales = np.frombuffer(data, "<f2", n_rows, position).astype(np.float32)
        position += 2 * n_rows
        state[name] = torch.from_numpy(scales)
        if tensor.ndim == 2:
            codes = np.frombuffer(data, np.int8, tensor.numel(), position).reshape(tensor.shape[::-1])
            position += tensor.numel()
            state[name] = torch.from_numpy(codes.T * scales[:, None])
    model.load_state_dict(state)
    return model
