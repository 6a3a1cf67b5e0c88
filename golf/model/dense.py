"""Attention with whole score matrices, for short contexts in bf16 on a CPU: two products around one softmax.

In a compiled graph, on CPUs that multiply bf16 tiles, torch's own blocked kernel in fp32 takes 1.2 times as long at 256
tokens, and in bf16 1.7 times; eager, whole matrices are the slowest (benchmarks/cpu_attention.py).
"""

# B batch, T positions with a key, S trailing positions with a query, E head width
# H query heads, G key/value heads, R = H / G

import torch

LONGEST = 1024  # keys; beyond, whole matrices leave the caches


class Dense(torch.autograd.Function):
    """(q [B,S,H,E], k [B,T,G,E], v [B,T,G,E], seen bool [1 or B, S, T]) -> [B,S,H,E].

    Products in the inputs' dtype, softmax in fp32.
    """

    @staticmethod
    def forward(ctx, q_BSHE, k_BTGE, v_BTGE, seen_BST):
        groups = k_BTGE.shape[2]
        q, k, v = by_group(q_BSHE, groups), by_group(k_BTGE, groups), by_group(v_BTGE, groups)
        scores = spread(torch.bmm(q, k.mT), groups, seen_BST).float() * q.shape[-1] ** -0.5
        scores = torch.where(seen_BST[:, None, None], scores, -torch.inf)
        powers = torch.exp(scores - scores.amax(-1, keepdim=True)).to(v.dtype).view(len(q), -1, v.shape[1])
        sums = powers.float().sum(-1, keepdim=True)  # of what is multiplied, rounding included
        y = torch.bmm(powers, v) / sums  # divided here, where there are E numbers a row and not T
        ctx.save_for_backward(q, k, v, powers, sums, y)
        ctx.groups = groups
        return by_head(y.to(v.dtype), groups, q_BSHE.shape)

    @staticmethod
    def backward(ctx, grad_BSHE):
        q, k, v, powers, sums, y = ctx.saved_tensors
        grad = by_group(grad_BSHE, ctx.groups) / sums
        mean = (grad * y).sum(-1, keepdim=True)
        grad = grad.to(v.dtype)
        slope = (powers * (torch.bmm(grad, v.mT) - mean) * q.shape[-1] ** -0.5).to(q.dtype)
        shape = grad_BSHE.shape[0], v.shape[1], ctx.groups, v.shape[2]
        to_q = by_head(torch.bmm(slope, k), ctx.groups, grad_BSHE.shape)
        to_k, to_v = torch.bmm(slope.mT, q), torch.bmm(powers.mT, grad)
        return to_q, by_head(to_k, ctx.groups, shape), by_head(to_v, ctx.groups, shape), None


def by_group(x_BTHE: torch.Tensor, groups: int) -> torch.Tensor:
    """[B, T, H, E] -> [B·G, R·T, E]: what shares a key/value head, in one matrix."""
    batch, length, heads, width = x_BTHE.shape
    x = x_BTHE.view(batch, length, groups, heads // groups, width)
    return x.permute(0, 2, 3, 1, 4).reshape(batch * groups, -1, width)


def by_head(x: torch.Tensor, groups: int, shape) -> torch.Tensor:
    """The way back to [B, T, H, E]."""
    batch, length, heads, width = shape
    x = x.view(batch, groups, heads // groups, length, width)
    return x.permute(0, 3, 1, 2, 4).reshape(shape)


def spread(scores: torch.Tensor, groups: int, seen_BST: torch.Tensor) -> torch.Tensor:
    """[B·G, R·S, T] -> [B, G, R, S, T]."""
    return scores.view(-1, groups, scores.shape[1] // seen_BST.shape[1], *seen_BST.shape[1:])
