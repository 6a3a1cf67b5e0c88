"""One door to causal attention: flash-attn 4, 3 or 2, or torch's own. Queries may be the last few positions only.

Where it is told which document each position belongs to, no position sees another document.
"""

# B batch, T positions with a key, S trailing positions with a query, H query heads, G key/value heads, E head width

import importlib
from collections.abc import Callable

import torch
import torch.nn.functional as F

from golf.ground.runtime import FLASH
from golf.model.dense import LONGEST, Dense

SHORTEST = 128  # mean length of documents from which on their ends fit the table of a compiled graph
IN_TORCH = {"flash4": "FA4", "flash3": "FA3"}  # libraries that torch calls itself, so that their graphs compile


def door(backend: str) -> Callable[..., torch.Tensor]:
    """A backend's attention: (q [B,S,H,E], k [B,T,G,E], v [B,T,G,E]) -> softmax(q kᵀ / sqrt(E)) v, [B,S,H,E].

    Query i of S stands at position T - S + i and sees no later key, and with ``documents``, int [B, T], none of another
    document. backend: "sdpa", or a key of FLASH, whose library must be importable (``golf.ground.machine`` tells).
    """
    if backend == "flash2":
        return flash(importlib.import_module(FLASH[backend]))
    if backend in IN_TORCH:
        torch.nn.attention.activate_flash_attention_impl(IN_TORCH[backend])
    elif torch.nn.attention.current_flash_attention_impl():
        torch.nn.attention.restore_flash_attention_impl()
    torch.backends.cuda.enable_cudnn_sdp(backend == "sdpa")  # which torch would prefer to them
    return attend


def attend(q_BSHE, k_BTGE, v_BTGE, documents: torch.Tensor | None = None) -> torch.Tensor:
    """torch's own kernels, or what torch was told to call in their place."""
    s, t, device, dtype = q_BSHE.shape[1], k_BTGE.shape[1], q_BSHE.device, q_BSHE.dtype
    if device.type == "cuda" and documents is not None and s == t:
        return in_documents(q_BSHE, k_BTGE, v_BTGE, documents)
    heads = q_BSHE, k_BTGE, v_BTGE
    if device.type == "cpu" and dtype == torch.bfloat16:
        if t <= LONGEST and torch.compiler.is_compiling():  # what is between the products must be one loop
            return Dense.apply(*heads, visible(s, t, documents, device))
        heads = [x.float() for x in heads]  # torch's backward takes twice as long in bf16 (benchmarks/README.md)
    mask = None if s == t and documents is None else visible(s, t, documents, device)[:, None]
    heads, grouped = [x.transpose(1, 2) for x in heads], q_BSHE.shape[2] != k_BTGE.shape[2]
    with torch.autocast(device.type, enabled=False):
        y_BHSE = F.scaled_dot_product_attention(*heads, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)
    return y_BHSE.transpose(1, 2).to(dtype)


def flash(library) -> Callable[..., torch.Tensor]:
    """flash-attn's own calls, in half precision; their causal mask is aligned with the last key, as we need."""

    def call(q_BSHE, k_BTGE, v_BTGE, documents=None):
        q, k, v = q_BSHE.bfloat16(), k_BTGE.bfloat16(), v_BTGE.bfloat16()
        if documents is None:
            return library.flash_attn_func(q, k, v, causal=True)
        if q.shape[1] < k.shape[1]:
            return attend(q, k, v, documents)
        longest, starts = k.shape[1], firsts(documents).nonzero().flatten()
        ends = F.pad(starts, (0, 1), value=documents.numel()).to(torch.int32)
        flat = [x.flatten(0, 1) for x in (q, k, v)]
        return library.flash_attn_varlen_func(*flat, ends, ends, longest, longest, causal=True).view_as(q)

    return call


def in_documents(q_BTHE, k_BTGE, v_BTGE, documents: torch.Tensor) -> torch.Tensor:
    """All documents of a batch end to end, by torch's kernel for sequences of many lengths."""
    from torch.nn.attention.varlen import varlen_attn

    flat = [x.flatten(0, 1) for x in (q_BTHE, k_BTGE, v_BTGE)]
    bounds, longest = boundaries(documents), k_BTGE.shape[1]
    asked = {"enable_gqa": True} if "enable_gqa" in varlen_attn.__kwdefaults__ else {}  # torch 2.11 does it unasked
    y = varlen_attn(*flat, bounds, bounds, longest, longest, window_size=(-1, 0), **asked)
    return torch.where(bounds[-2] == len(flat[0]), y, torch.nan).view_as(q_BTHE)


def boundaries(documents: torch.Tensor) -> torch.Tensor:
    """int32 [n]: where each document starts in the flattened batch, then the batch's length again and again.

    n is the same for all batches of a shape, so that a graph compiles once: room for documents of SHORTEST tokens on
    average. The last but one entry is the length too, unless there are more; what ``in_documents`` gives is NaN then.
    """
    rows, length = documents.shape
    room = rows + rows * length // SHORTEST + 1
    found = torch.nonzero_static(firsts(documents), size=room, fill_value=rows * length).flatten()
    return F.pad(found, (0, 1), value=rows * length).to(torch.int32)


def firsts(documents: torch.Tensor) -> torch.Tensor:
    """[rows · tokens] bool: where a row or a document starts."""
    return F.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True).flatten()


def visible(s: int, t: int, documents: torch.Tensor | None, device) -> torch.Tensor:
    """[1 or B, S, T] bool: which keys the last S of T positions may see."""
    position = torch.arange(t, dtype=torch.int32, device=device)  # int64 is slow in a CPU's graph
    causal = (position <= position[t - s :, None])[None]
    return causal if documents is None else causal & (documents[:, t - s :, None] == documents[:, None, :])
