"""Attention on whole score matrices, for short contexts in bf16 on a CPU: two matrix products around one softmax.

In a compiled graph, on CPUs that multiply bf16 tiles, torch's blocked kernel takes 1.2 times as long in fp32 at 256
tokens, and 1.7 times as long in bf16. Without compilation whole matrices are the slowest (benchmarks/cpu_attention.py).
"""

# B batch, T positions with a key, S trailing positions with a query, E head width
# H query heads, G key/value heads, R = H / G

import torch

__all__ = ["MAX_CONTEXT_TOKENS", "DenseAttention"]

MAX_CONTEXT_TOKENS = 1024  # with more keys, whole matrices no longer fit the caches


class DenseAttention(torch.autograd.Function):
    """(q [B,S,H,E], k [B,T,G,E], v [B,T,G,E], mask bool [1 or B, S, T]) -> [B,S,H,E].

    Matrix products run in the dtype of the inputs, the softmax in fp32. True in the mask lets a query see a key.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        q_BSHE: torch.Tensor,
        k_BTGE: torch.Tensor,
        v_BTGE: torch.Tensor,
        mask_BST: torch.Tensor,
    ) -> torch.Tensor:
        n_groups = k_BTGE.shape[2]
        q, k, v = _to_groups(q_BSHE, n_groups), _to_groups(k_BTGE, n_groups), _to_groups(v_BTGE, n_groups)
        scores = _split_groups(torch.bmm(q, k.mT), n_groups, mask_BST).float() * q.shape[-1] ** -0.5
        scores = torch.where(mask_BST[:, None, None], scores, -torch.inf)
        exp_scores = torch.exp(scores - scores.amax(-1, keepdim=True)).to(v.dtype).view(len(q), -1, v.shape[1])
        row_sums = exp_scores.float().sum(-1, keepdim=True)  # of the rounded values that are multiplied below
        y = torch.bmm(exp_scores, v) / row_sums  # dividing here touches E numbers a row instead of T
        ctx.save_for_backward(q, k, v, exp_scores, row_sums, y)
        ctx.n_groups = n_groups
        return _from_groups(y.to(v.dtype), n_groups, q_BSHE.shape)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad_BSHE: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        q, k, v, exp_scores, row_sums, y = ctx.saved_tensors
        grad = _to_groups(grad_BSHE, ctx.n_groups) / row_sums
        delta = (grad * y).sum(-1, keepdim=True)
        grad = grad.to(v.dtype)
        grad_scores = (exp_scores * (torch.bmm(grad, v.mT) - delta) * q.shape[-1] ** -0.5).to(q.dtype)
        kv_shape = grad_BSHE.shape[0], v.shape[1], ctx.n_groups, v.shape[2]
        grad_q = _from_groups(torch.bmm(grad_scores, k), ctx.n_groups, grad_BSHE.shape)
        grad_k, grad_v = torch.bmm(grad_scores.mT, q), torch.bmm(exp_scores.mT, grad)
        return grad_q, _from_groups(grad_k, ctx.n_groups, kv_shape), _from_groups(grad_v, ctx.n_groups, kv_shape), None


def _to_groups(x_BTHE: torch.Tensor, n_groups: int) -> torch.Tensor:
    """[B, T, H, E] -> [B·G, R·T, E]: the heads that share a key/value head, stacked in one matrix."""
    batch, n_tokens, n_heads, head_dim = x_BTHE.shape
    x = x_BTHE.view(batch, n_tokens, n_groups, n_heads // n_groups, head_dim)
    return x.permute(0, 2, 3, 1, 4).reshape(batch * n_groups, -1, head_dim)


def _from_groups(x: torch.Tensor, n_groups: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Undo ``_to_groups``. ``shape`` is (B, T, H, E)."""
    batch, n_tokens, n_heads, head_dim = shape
    x = x.view(batch, n_groups, n_heads // n_groups, n_tokens, head_dim)
    return x.permute(0, 3, 1, 2, 4).reshape(shape)


def _split_groups(scores: torch.Tensor, n_groups: int, mask_BST: torch.Tensor) -> torch.Tensor:
    """[B·G, R·S, T] -> [B, G, R, S, T]."""
    return scores.view(-1, n_groups, scores.shape[1] // mask_BST.shape[1], *mask_BST.shape[1:])
