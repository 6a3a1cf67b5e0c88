"""One door to causal attention: flash-attn 4, 3 or 2, or torch's own. Queries may be the last few positions only.

Where it is told which document each position belongs to, no position sees another document.
"""

# B batch, T positions with a key, S trailing positions with a query, H query heads, G key/value heads, E head width

import importlib
from collections.abc import Callable

import torch
import torch.nn.functional as F

from golf.distributed.context import FLASH_MODULES
from golf.model.cpu_attention import MAX_CONTEXT_TOKENS, DenseAttention

MIN_MEAN_DOCUMENT_TOKENS = 128  # mean length of documents from which on their ends fit the table of a compiled graph
_TORCH_FLASH_IMPLS = {
    "flash4": "FA4",
    "flash3": "FA3",
}  # libraries that torch calls itself, so that their graphs compile


def get_attention(backend: str) -> Callable[..., torch.Tensor]:
    """A backend's attention: (q [B,S,H,E], k [B,T,G,E], v [B,T,G,E]) -> softmax(q kᵀ / sqrt(E)) v, [B,S,H,E].

    Query i of S stands at position T - S + i and sees no later key, and with ``documents``, int [B, T], none of another
    document. backend: "sdpa", or a key of FLASH, whose library must be importable (``golf.distributed.device`` tells).
    """
    if backend == "flash2":
        return _flash_attention(importlib.import_module(FLASH_MODULES[backend]))
    if backend in _TORCH_FLASH_IMPLS:
        torch.nn.attention.activate_flash_attention_impl(_TORCH_FLASH_IMPLS[backend])
    elif torch.nn.attention.current_flash_attention_impl():
        torch.nn.attention.restore_flash_attention_impl()
    torch.backends.cuda.enable_cudnn_sdp(backend == "sdpa")  # which torch would prefer to them
    return sdpa


def sdpa(q_BSHE, k_BTGE, v_BTGE, doc_ids: torch.Tensor | None = None) -> torch.Tensor:
    """torch's own kernels, or what torch was told to call in their place."""
    s, t, device, dtype = q_BSHE.shape[1], k_BTGE.shape[1], q_BSHE.device, q_BSHE.dtype
    if device.type == "cuda" and doc_ids is not None and s == t:
        return _varlen_attention(q_BSHE, k_BTGE, v_BTGE, doc_ids)
    qkv = q_BSHE, k_BTGE, v_BTGE
    if device.type == "cpu" and dtype == torch.bfloat16:
        if t <= MAX_CONTEXT_TOKENS and torch.compiler.is_compiling():  # what is between the products must be one loop
            return DenseAttention.apply(*qkv, make_attention_mask(s, t, doc_ids, device))
        qkv = [x.float() for x in qkv]  # torch's backward takes twice as long in bf16 (benchmarks/README.md)
    mask = None if s == t and doc_ids is None else make_attention_mask(s, t, doc_ids, device)[:, None]
    qkv, is_gqa = [x.transpose(1, 2) for x in qkv], q_BSHE.shape[2] != k_BTGE.shape[2]
    with torch.autocast(device.type, enabled=False):
        y_BHSE = F.scaled_dot_product_attention(*qkv, attn_mask=mask, is_causal=mask is None, enable_gqa=is_gqa)
    return y_BHSE.transpose(1, 2).to(dtype)


def _flash_attention(library) -> Callable[..., torch.Tensor]:
    """flash-attn's own calls, in half precision; their causal mask is aligned with the last key, as we need."""

    def attention(q_BSHE, k_BTGE, v_BTGE, doc_ids=None):
        q, k, v = q_BSHE.bfloat16(), k_BTGE.bfloat16(), v_BTGE.bfloat16()
        if doc_ids is None:
            return library.flash_attn_func(q, k, v, causal=True)
        if q.shape[1] < k.shape[1]:
            return sdpa(q, k, v, doc_ids)
        max_tokens, starts = k.shape[1], _document_starts(doc_ids).nonzero().flatten()
        cu_seqlens = F.pad(starts, (0, 1), value=doc_ids.numel()).to(torch.int32)
        packed = [x.flatten(0, 1) for x in (q, k, v)]
        return library.flash_attn_varlen_func(
            *packed, cu_seqlens, cu_seqlens, max_tokens, max_tokens, causal=True
        ).view_as(q)

    return attention


def _varlen_attention(q_BTHE, k_BTGE, v_BTGE, doc_ids: torch.Tensor) -> torch.Tensor:
    """All documents of a batch end to end, by torch's kernel for sequences of many lengths."""
    from torch.nn.attention.varlen import varlen_attn

    packed = [x.flatten(0, 1) for x in (q_BTHE, k_BTGE, v_BTGE)]
    cu_seqlens, max_tokens = compute_cu_seqlens(doc_ids), k_BTGE.shape[1]
    gqa_kwargs = (
        {"enable_gqa": True} if "enable_gqa" in varlen_attn.__kwdefaults__ else {}
    )  # torch 2.11 does it unasked
    y = varlen_attn(*packed, cu_seqlens, cu_seqlens, max_tokens, max_tokens, window_size=(-1, 0), **gqa_kwargs)
    return torch.where(cu_seqlens[-2] == len(packed[0]), y, torch.nan).view_as(q_BTHE)


def compute_cu_seqlens(doc_ids: torch.Tensor) -> torch.Tensor:
    """int32 [n]: where each document starts in the flattened batch, then the batch's length again and again.

    n is the same for all batches of a shape, so that a graph compiles once: room for documents of SHORTEST tokens on
    average. The last but one entry is the length too, unless there are more; what ``in_documents`` gives is NaN then.
    """
    rows, n_tokens = doc_ids.shape
    max_documents = rows + rows * n_tokens // MIN_MEAN_DOCUMENT_TOKENS + 1
    starts = torch.nonzero_static(_document_starts(doc_ids), size=max_documents, fill_value=rows * n_tokens).flatten()
    return F.pad(starts, (0, 1), value=rows * n_tokens).to(torch.int32)


def _document_starts(doc_ids: torch.Tensor) -> torch.Tensor:
    """[rows · tokens] bool: where a row or a document starts."""
    return F.pad(doc_ids[:, 1:] != doc_ids[:, :-1], (1, 0), value=True).flatten()


def make_attention_mask(s: int, t: int, doc_ids: torch.Tensor | None, device) -> torch.Tensor:
    """[1 or B, S, T] bool: which keys the last S of T positions may see."""
    position = torch.arange(t, dtype=torch.int32, device=device)  # int64 is slow in a CPU's graph
    causal = (position <= position[t - s :, None])[None]
    return causal if doc_ids is None else causal & (doc_ids[:, t - s :, None] == doc_ids[:, None, :])
