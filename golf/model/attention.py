"""One door to causal attention: flash-attn 4, 3 or 2, or torch's own. Queries may be the last few positions only.

B batch, T positions with a key, S trailing positions with a query, H query heads, G key/value heads, E head width
"""

import torch
import torch.nn.functional as F

from golf.ground.runtime import FLASH


def attend(q_BSHE: torch.Tensor, k_BTGE: torch.Tensor, v_BTGE: torch.Tensor, backend: str) -> torch.Tensor:
    """softmax(q kᵀ / sqrt(E)) v; query i of S stands at position T - S + i and sees no later key. [B, S, H, E].

    backend: "sdpa", or a key of FLASH, whose library must be importable (``runtime.backend_missing`` tells).
    """
    if backend != "sdpa":
        return flash(q_BSHE, k_BTGE, v_BTGE, backend)
    s, t = q_BSHE.shape[1], k_BTGE.shape[1]
    mask = None if s == t else causal(s, t, q_BSHE.device)
    y_BHSE = F.scaled_dot_product_attention(
        q_BSHE.transpose(1, 2),
        k_BTGE.transpose(1, 2),
        v_BTGE.transpose(1, 2),
        attn_mask=mask,
        is_causal=mask is None,
        enable_gqa=q_BSHE.shape[2] != k_BTGE.shape[2],
    )
    return y_BHSE.transpose(1, 2)


def causal(s: int, t: int, device) -> torch.Tensor:
    """[S, T] bool: which keys the last S of T positions may see."""
    return torch.ones(s, t, dtype=torch.bool, device=device).tril(t - s)


def flash(q_BSHE, k_BTGE, v_BTGE, backend: str) -> torch.Tensor:
    """flash-attn aligns the causal mask with the last key, as we need. It takes half precision only."""
    import importlib

    function = importlib.import_module(FLASH[backend]).flash_attn_func
    y = function(q_BSHE.bfloat16(), k_BTGE.bfloat16(), v_BTGE.bfloat16(), causal=True)
    return y[0] if isinstance(y, tuple) else y
