"""Fused output projection and soft-capped cross-entropy for training, computed a few rows of logits at a time.

One rank's logits in the record's setup are 98,304 x 8,192 fp32 numbers, 3.2 GB, and a plain cross-entropy needs several
such tensors. Here each chunk of rows yields its loss and its gradients at once and is then freed (Liger kernel,
arXiv:2410.10989, section 3.2). The soft cap is written as a sigmoid, as in PR #1787 (docs/references.md#softcap).
"""

# N positions, D width, V vocabulary, C rows of a chunk

import torch

__all__ = ["MAX_CHUNKS", "MAX_CHUNK_LOGITS", "FusedLinearCrossEntropy", "chunk_rows", "matmul_dtype"]

MAX_CHUNK_LOGITS = {"cpu": 1 << 21, "cuda": 1 << 26}  # logits held at once: a CPU cache's worth, and 256 MB
MAX_CHUNKS = 16  # the loop over chunks is unrolled in the compiled graph


class FusedLinearCrossEntropy(torch.autograd.Function):
    """(hidden [N, D], weight [V, D], targets int64 [N], softcap, dtype of matrix products) -> fp32 sum of nats.

    The forward pass computes the gradients too, in fp32 except for the products; backward only scales them. A fixed
    weight costs no product.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        softcap: float,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        weight = weight_VD.to(dtype)
        learns_weight = ctx.needs_input_grad[1]
        vocab_ids = torch.arange(len(weight), dtype=torch.int32, device=weight.device)
        nll_sum = torch.zeros((), device=weight.device)
        grad_weight = torch.zeros_like(weight_VD, dtype=torch.float32)
        grad_hidden = []
        n_rows = chunk_rows(len(hidden_ND), len(weight), weight.device)
        for hidden, targets in zip(hidden_ND.to(dtype).split(n_rows), targets_N.int().split(n_rows), strict=True):
            sigmoid = torch.sigmoid((hidden @ weight.T).float() * (2 / softcap))  # c tanh(z/c) = 2c sigmoid(2z/c) - c
            exp_logits = torch.exp((sigmoid - 1) * (2 * softcap))  # of the logit minus its maximum c, so at most 1
            exp_sums = exp_logits.sum(-1, keepdim=True)
            is_target = vocab_ids == targets[:, None]
            target_gap = torch.where(is_target, 1 - sigmoid, 0).sum(-1) * (2 * softcap)  # c minus the target's logit
            # Not in place: torch 2.11 traces the gradient of a result that was computed in place as zero.
            nll_sum = nll_sum + (exp_sums[:, 0].log() + target_gap).sum()
            probs = exp_logits * (1 / exp_sums)
            softcap_slope = 4 * sigmoid * (1 - sigmoid)  # derivative of c tanh(z/c) with respect to z
            grad_logits = (torch.where(is_target, probs - 1, probs) * softcap_slope).to(dtype)
            grad_hidden.append(grad_logits @ weight)
            if learns_weight:
                grad_weight += (grad_logits.T @ hidden).float()
        ctx.save_for_backward(torch.cat(grad_hidden), grad_weight)
        ctx.dtypes = hidden_ND.dtype, weight_VD.dtype
        return nll_sum

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad_output: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
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
    """Return the rows of a chunk: as many as ``MAX_CHUNK_LOGITS`` allows, or more to stay within ``MAX_CHUNKS``."""
    return max(1, MAX_CHUNK_LOGITS.get(device.type, MAX_CHUNK_LOGITS["cpu"]) // vocab_size, -(-n_rows // MAX_CHUNKS))


def matmul_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return the precision of matrix products on tensors of ``dtype``: autocast's when it is on, else ``dtype``."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else dtype
