"""The inputs of the parity figures in tests/golden/parity: weights, tokens and a GPTQ problem from frozen generators.

``np.random.RandomState`` gives the same numbers in every version of NumPy.
"""

import numpy as np
import torch

from golf.config.model import ModelConfig
from golf.model.gpt import GPT

MODEL_CONFIG = ModelConfig(
    vocab_size=260,
    n_layers=6,
    d_model=32,
    n_heads=4,
    n_kv_heads=2,
    d_ff=128,
    context_length=32,
    rope_dims=4,
    rope_base=10000.0,
    qk_gain=5.25,
    leaky_slope=0.5,
    softcap=30.0,
    embed_std=0.005,
    recur_start=1,
    recur_end=2,
    recur_passes=3,
    parallel_residual_from=4,
    xsa_from=0,
    doc_mask_bos_id=None,
    attn_gate="none",
    smear_gate_bos_id=None,
    conv_kernel=1,
    two_lane_from=None,
    asym_softcap=False,
)
HESSIAN_LAYERS = ("blocks.3.attn.c_q", "blocks.3.mlp.fc", "blocks.3.mlp.proj")
N_TOKENS = 801  # 25 windows, 5 chunks of 160 targets


def make_weights() -> dict[str, torch.Tensor]:
    """A state dict of MODEL_CONFIG: its constant tensors with noise, the matrices random."""
    rng = np.random.RandomState(1493)
    state_dict = {}
    for name, tensor in sorted(GPT(MODEL_CONFIG).state_dict().items()):
        noise = torch.from_numpy(rng.standard_normal(tuple(tensor.shape))).float()
        if name.endswith(".weight"):
            std = 0.2 if name == "tok_emb.weight" else 1 / tensor.shape[1] ** 0.5
            state_dict[name] = noise * std
        else:
            state_dict[name] = tensor + 0.1 * noise
    return state_dict


def make_tokens() -> torch.Tensor:
    """int64 [N_TOKENS]."""
    return torch.from_numpy(np.random.RandomState(1).randint(0, MODEL_CONFIG.vocab_size, N_TOKENS)).long()


def make_gptq_problem() -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [16, 160], wider than a GPTQ block, and the Hessian [160, 160] of correlated inputs."""
    rng = np.random.RandomState(2)
    weight = rng.standard_normal((16, 160)) * 0.05
    inputs = rng.standard_normal((512, 160)) @ (np.eye(160) + 0.2 * rng.standard_normal((160, 160)))
    return torch.from_numpy(weight).float(), torch.from_numpy(inputs.T @ inputs / 512).float()
