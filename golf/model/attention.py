"""Causal attention behind one signature: torch's own kernels, or flash-attn 4, 3 or 2.

Queries may be the last few positions only. With document ids, no position attends to another document. Which backends
a machine offers is decided in ``golf.model.attention_backends``, which the weighed code does not import.
"""

# B batch, T positions with a key, S trailing positions with a query, H query heads, G key/value heads, E head width

import importlib
from collections.abc import Callable
from types import ModuleType

import torch
import torch.nn.functional as F

from golf.model.cpu_attention import MAX_CONTEXT_TOKENS, DenseAttention

__all__ = ["MIN_MEAN_DOCUMENT_TOKENS", "compute_cu_seqlens", "get_attention", "make_attention_mask", "sdpa"]

MIN_MEAN_DOCUMENT_TOKENS = 128  # a batch whose documents are shorter on average overflows the table of a compiled graph
_TORCH_FLASH_IMPLS = {"flash4": "FA4", "flash3": "FA3"}  # torch calls these libraries itself, so their graphs compile


def get_attention(backend: str) -> Callable[..., torch.Tensor]:
    """Return a backend's attention: (q [B,S,H,E], k [B,T,G,E], v [B,T,G,E], doc_ids=None) -> [B,S,H,E].

    It computes softmax(q kᵀ / sqrt(E)) v. Query i of S stands at position T - S + i and sees no later key, and with
    ``doc_ids``, int [B, T], no key of another document. ``backend`` is "sdpa", "flash4", "flash3" or "flash2"; the
    library of a flash backend must be importable (``golf.model.attention_backends`` checks that).
    """
    if backend == "flash2":
        return _flash_attention(importlib.import_module("flash_attn"))
    if backend in _TORCH_FLASH_IMPLS:
        torch.nn.attention.activate_flash_attention_impl(_TORCH_FLASH_IMPLS[backend])
    elif torch.nn.attention.current_flash_attention_impl():
        torch.nn.attention.restore_flash_attention_impl()
    torch.backends.cuda.enable_cudnn_sdp(backend == "sdpa")  # torch would prefer cuDNN to flash-attn
    return sdpa


def sdpa(
    q_BSHE: torch.Tensor, k_BTGE: torch.Tensor, v_BTGE: torch.Tensor, doc_ids: torch.Tensor | None = None
) -> torch.Tensor:
    """Attend through torch's kernels, or through the flash-attn library that torch was told to call instead."""
    s, t, device, dtype = q_BSHE.shape[1], k_BTGE.shape[1], q_BSHE.device, q_BSHE.dtype
    if device.type == "cuda" and doc_ids is not None and s == t:
        return _varlen_attention(q_BSHE, k_BTGE, v_BTGE, doc_ids)
    q, k, v = q_BSHE, k_BTGE, v_BTGE
    if device.type == "cpu" and dtype == torch.bfloat16:
        if t <= MAX_CONTEXT_TOKENS and torch.compiler.is_compiling():  # Inductor must fuse all between the products
            return DenseAttention.apply(q, k, v, make_attention_mask(s, t, doc_ids, device))
        if q.requires_grad:  # torch's bf16 backward takes twice as long (benchmarks/README.md), its forward half
            q, k, v = q.float(), k.float(), v.float()
    mask = None if s == t and doc_ids is None else make_attention_mask(s, t, doc_ids, device)[:, None]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    is_gqa = q_BSHE.shape[2] != k_BTGE.shape[2]
    with torch.autocast(device.type, enabled=False):
        y_BHSE = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=is_gqa)
    return y_BHSE.transpose(1, 2).to(dtype)


def _flash_attention(library: ModuleType) -> Callable[..., torch.Tensor]:
    """Wrap flash-attn 2's functions. They compute in bf16, and align the causal mask with the last key, as we do."""

    def attention(
        q_BSHE: torch.Tensor, k_BTGE: torch.Tensor, v_BTGE: torch.Tensor, doc_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
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


def _varlen_attention(
    q_BTHE: torch.Tensor, k_BTGE: torch.Tensor, v_BTGE: torch.Tensor, doc_ids: torch.Tensor
) -> torch.Tensor:
    """Attend within each document by torch's variable-length kernel, with the batch's documents packed end to end."""
    from torch.nn.attention.varlen import varlen_attn

    packed = [x.flatten(0, 1) for x in (q_BTHE, k_BTGE, v_BTGE)]
    cu_seqlens, max_tokens = compute_cu_seqlens(doc_ids), k_BTGE.shape[1]
    gqa_kwargs = {"enable_gqa": True} if "enable_gqa" in varlen_attn.__kwdefaults__ else {}  # torch 2.11 always does
    y = varlen_attn(*packed, cu_seqlens, cu_seqlens, max_tokens, max_tokens, window_size=(-1, 0), **gqa_kwargs)
    return torch.where(cu_seqlens[-2] == len(packed[0]), y, torch.nan).view_as(q_BTHE)


def compute_cu_seqlens(doc_ids: torch.Tensor) -> torch.Tensor:
    """Return int32 [n]: where each document starts in the flattened batch, padded with the batch's token count.

    ``doc_ids`` is int [B, T]. n depends on its shape alone, so one graph serves every batch: there are slots for
    documents of ``MIN_MEAN_DOCUMENT_TOKENS`` on average. With more documents than slots the last entry but one is
    smaller than the token count, and ``_varlen_attention`` returns NaN.
    """
    rows, n_tokens = doc_ids.shape
    max_documents = rows + rows * n_tokens // MIN_MEAN_DOCUMENT_TOKENS + 1
    starts = torch.nonzero_static(_document_starts(doc_ids), size=max_documents, fill_value=rows * n_tokens).flatten()
    return F.pad(starts, (0, 1), value=rows * n_tokens).to(torch.int32)


def _document_starts(doc_ids: torch.Tensor) -> torch.Tensor:
    """Return bool [B · T]: whether a row or a document starts at this position."""
    return F.pad(doc_ids[:, 1:] != doc_ids[:, :-1], (1, 0), value=True).flatten()


def make_attention_mask(s: int, t: int, doc_ids: torch.Tensor | None, device: torch.device) -> torch.Tensor:
    """Return bool [1 or B, S, T]: which keys each of the last S of T positions may see."""
    position = torch.arange(t, dtype=torch.int32, device=device)  # int64 is slow in a graph compiled for a CPU
    causal = (position <= position[t - s :, None])[None]
    return causal if doc_ids is None else causal & (doc_ids[:, t - s :, None] == doc_ids[:, None, :])
