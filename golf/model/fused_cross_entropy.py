"""The head's loss in training: soft-capped cross-entropy, a few rows of logits at a time.

Whole logits of a rank's share in the record are 98,304 x 8,192 fp32, 3.2 GB, and cross-entropy wants several such. Here
each chunk of rows gives its loss and its gradients at once and is then forgotten (Liger kernel, arXiv:2410.10989,
section 3.2; the soft cap as in PR #1787, record-stack 3.13).
"""

# N positions, D width, V words, C rows of a chunk

import torch

MAX_CHUNK_LOGITS = {"cpu": 1 << 21, "cuda": 1 << 26}  # logits held at once: what a cache holds, and 256 MB
MAX_CHUNKS = 16  # at most so many, as each is a stretch of the compiled graph


class FusedLinearCrossEntropy(torch.autograd.Function):
    """(hidden [N, D], weight [V, D], targets int64 [N], cap, dtype of products) -> Σ nats, fp32.

    Both gradients are made on the way forward, in fp32 but for the products, so the way back is two multiplications.
    """

    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, targets_N, softcap: float, dtype: torch.dtype):
        weight = weight_VD.to(dtype)
        vocab_ids = torch.arange(len(weight), dtype=torch.int32, device=weight.device)
        nll_sum = torch.zeros((), device=weight.device)
        grad_weight = torch.zeros_like(weight_VD, dtype=torch.float32)
        grad_hidden = []
        n_rows = chunk_rows(len(hidden_ND), len(weight), weight.device)
        for hidden, targets in zip(hidden_ND.to(dtype).split(n_rows), targets_N.int().split(n_rows), strict=True):
            sigmoid = torch.sigmoid(
                (hidden @ weight.T).float() * (2 / softcap)
            )  # c tanh(z/c) = 2c·share - c, in [-c, c]
            exp_logits = torch.exp((sigmoid - 1) * (2 * softcap))  # of logit less cap, so none is over 1
            exp_sums = exp_logits.sum(-1, keepdim=True)
            is_target = vocab_ids == targets[:, None]
            # Not in place: torch 2.11 traces the gradient of a result that was made in place as zero.
            nll_sum = (
                nll_sum
                + (exp_sums[:, 0].log() + (torch.where(is_target, 1 - sigmoid, 0).sum(-1)) * (2 * softcap)).sum()
            )
            probs = exp_logits * (1 / exp_sums)
            grad_logits = torch.where(is_target, probs - 1, probs) * (
                4 * sigmoid * (1 - sigmoid)
            )  # d tanh(z/c) · c / dz
            grad_logits = grad_logits.to(dtype)
            grad_hidden.append(grad_logits @ weight)
            grad_weight += (grad_logits.T @ hidden).float()
        ctx.save_for_backward(torch.cat(grad_hidden), grad_weight)
        ctx.dtypes = hidden_ND.dtype, weight_VD.dtype
        return nll_sum

    @staticmethod
    def backward(ctx, grad_output):
        grad_hidden, grad_weight = ctx.saved_tensors
        hidden_dtype, weight_dtype = ctx.dtypes
        return (
            (grad_hidden * grad_output).to(hidden_dtype),
            (grad_weight * grad_output).to(weight_dtype),
            None,
            None,
            None,
        )


def chunk_rows(n_rows: int, vocab_size: int, device: torch.device) -> int:
    """Rows of a chunk: as many as ELEMENTS allows, and more where that would make over CHUNKS of them."""
    return max(1, MAX_CHUNK_LOGITS.get(device.type, MAX_CHUNK_LOGITS["cpu"]) // vocab_size, -(-n_rows // MAX_CHUNKS))


def matmul_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The precision of matrix products on tensors of ``dtype`` where autocast may be on."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else dtype
