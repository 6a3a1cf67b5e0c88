"""A seeded Hadamard rotation of the inputs of quantized matrices (SpinQuant, arXiv:2405.16406, as in PR #1898).

W becomes W R and its Hessian Rᵀ H R, with R [n, n] orthogonal; codes are of W R, and the predictor multiplies by Rᵀ
when it opens the file, so that nothing changes afterwards. R is the Q of QR(D H), with D random signs and H the first n
rows and columns of Sylvester's Hadamard matrix. All matrices with n columns share R, so those that share a Hessian do.
The embedding is left as it is.
"""

import functools
import hashlib

import numpy as np
import torch

__all__ = ["make_rotation", "rotate_back"]


@functools.cache
def make_rotation(seed: float, n: int) -> torch.Tensor:
    """Return R, float64 [n, n]."""
    bits_n = np.frombuffer(hashlib.shake_128(f"{seed:g}:{n}".encode()).digest(n), np.uint8) & 1
    hadamard = np.ones((1, 1))
    while len(hadamard) < n:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    return torch.from_numpy(np.linalg.qr((1.0 - 2 * bits_n)[:, None] * hadamard[:n, :n])[0])


def rotate_back(w_OI: torch.Tensor, seed: float) -> torch.Tensor:
    """Return the matrix, fp32, whose rotation ``w_OI`` is."""
    return (w_OI.double() @ make_rotation(seed, w_OI.shape[1]).T).float()
