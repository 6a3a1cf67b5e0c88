"""The head's loss in training: soft-capped cross-entropy, a few rows of logits at a time.

Whole logits of a rank's share in the record are 98,304 x 8,192 fp32, 3.2 GB, and cross-entropy wants several such. Here
each chunk of rows gives its loss and its gradients at once and is then forgotten (Liger kernel, arXiv:2410.10989,
section 3.2; the soft cap as in PR #1787, record-stack 3.13).
"""

# N positions, D width, V words, C rows of a chunk

import torch

ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 26}  # logits held at once: what a cache holds, and 256 MB
CHUNKS = 16  # at most so many, as each is a stretch of the compiled graph


class SummedNLL(torch.autograd.Function):
    """(hidden [N, D], weight [V, D], targets int64 [N], cap, dtype of products) -> Σ nats, fp32.

    Both gradients are made on the way forward, in fp32 but for the products, so the way back is two multiplications.
    """

    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, targets_N, cap: float, dtype: torch.dtype):
        weight = weight_VD.to(dtype)
        words = torch.arange(len(weight), dtype=torch.int32, device=weight.device)
        total = torch.zeros((), device=weight.device)
        to_weight = torch.zeros_like(weight_VD, dtype=torch.float32)
        to_hidden = []
        rows = chunk_rows(len(hidden_ND), len(weight), weight.device)
        for hidden, targets in zip(hidden_ND.to(dtype).split(rows), targets_N.int().split(rows), strict=True):
            share = torch.sigmoid((hidden @ weight.T).float() * (2 / cap))  # c tanh(z/c) = 2c·share - c, in [-c, c]
            powers = torch.exp((share - 1) * (2 * cap))  # of logit less cap, so none is over 1
            sums = powers.sum(-1, keepdim=True)
            hit = words == targets[:, None]
            # Not in place: torch 2.11 traces the gradient of a result that was made in place as zero.
            total = total + (sums[:, 0].log() + (torch.where(hit, 1 - share, 0).sum(-1)) * (2 * cap)).sum()
            chance = powers * (1 / sums)
            slope = torch.where(hit, chance - 1, chance) * (4 * share * (1 - share))  # d tanh(z/c) · c / dz
            slope = slope.to(dtype)
            to_hidden.append(slope @ weight)
            to_weight += (slope.T @ hidden).float()
        ctx.save_for_backward(torch.cat(to_hidden), to_weight)
        ctx.dtypes = hidden_ND.dtype, weight_VD.dtype
        return total

    @staticmethod
    def backward(ctx, scale):
        to_hidden, to_weight = ctx.saved_tensors
        of_hidden, of_weight = ctx.dtypes
        return (to_hidden * scale).to(of_hidden), (to_weight * scale).to(of_weight), None, None, None


def chunk_rows(rows: int, words: int, device: torch.device) -> int:
    """Rows of a chunk: as many as ELEMENTS allows, and more where that would make over CHUNKS of them."""
    return max(1, ELEMENTS.get(device.type, ELEMENTS["cpu"]) // words, -(-rows // CHUNKS))


def products(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The precision of matrix products on tensors of ``dtype`` where autocast may be on."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else dtype
