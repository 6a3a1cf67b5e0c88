"""One door to causal attention: flash-attn 4, 3 or 2, or torch's own. Queries may be the last few positions only.

B batch, T positions with a key, S trailing positions with a query, H query heads, G key/value heads, E head width
"""

import importlib
from collections.abc import Callable

import torch
import torch.nn.functional as F

from golf.ground.runtime import FLASH


def door(backend: str) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """A backend's attention: (q [B,S,H,E], k [B,T,G,E], v [B,T,G,E]) -> softmax(q kᵀ / sqrt(E)) v, [B,S,H,E].

    Query i of S stands at position T - S + i and sees no later key. backend: "sdpa", or a key of FLASH, whose library
    must be importable (``runtime.backend_missing`` tells).
    """
    if backend == "sdpa":
        return sdpa
    function = importlib.import_module(FLASH[backend]).flash_attn_func

    def flash(q_BSHE, k_BTGE, v_BTGE):
        # Half precision only; the causal mask is aligned with the last key, as we need.
        y = function(q_BSHE.bfloat16(), k_BTGE.bfloat16(), v_BTGE.bfloat16(), causal=True)
        return y[0] if isinstance(y, tuple) else y

    return flash


def sdpa(q_BSHE: torch.Tensor, k_BTGE: torch.Tensor, v_BTGE: torch.Tensor) -> torch.Tensor:
    """torch's own kernels. On CPUs in fp32: their backward takes twice as long in bf16 (benchmarks/README.md)."""
    s, t, dtype, device = q_BSHE.shape[1], k_BTGE.shape[1], q_BSHE.dtype, q_BSHE.device
    heads = [x.transpose(1, 2) for x in (q_BSHE, k_BTGE, v_BTGE)]
    if device.type == "cpu":
        heads = [x.float() if dtype == torch.bfloat16 else x for x in heads]
    mask = None if s == t else causal(s, t, device)
    grouped = q_BSHE.shape[2] != k_BTGE.shape[2]
    with torch.autocast(device.type, enabled=False):
        y_BHSE = F.scaled_dot_product_attention(*heads, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)
    return y_BHSE.transpose(1, 2).to(dtype)


def causal(s: int, t: int, device) -> torch.Tensor:
    """[S, T] bool: which keys the last S of T positions may see."""
    return torch.ones(s, t, dtype=torch.bool, device=device).tril(t - s)
