"""Weights and Hessians to quantize, and a small model to collect them from."""

import dataclasses
import math
from types import SimpleNamespace

import torch

from golf.model.gpt import GPT
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG

# Several passes of the loop, and an embedding that is not near zero.
MODEL_CONFIG = dataclasses.replace(TINY_MODEL_CONFIG, vocab_size=300, context_length=16, embed_std=0.5, recur_passes=3)


def make_quantize_config(**changes) -> SimpleNamespace:
    """What GPTQ on the row_column grid reads of the section quantize; round to nearest unless changed."""
    coding = {"coding": "scalar", "trellis_states": 8, "rate_weight": 0.0}
    return SimpleNamespace(
        **{"grid": "row_column", "base_step": None, "damping_frac": 0.01, "block_size": 128} | coding | changes
    )


def make_model() -> GPT:
    """A model whose output projections, zero in a new one, are not zero."""
    generator = torch.Generator().manual_seed(0)
    model = GPT(MODEL_CONFIG).init_weights(generator)
    with torch.no_grad():
        for block in model.blocks:
            for linear in (block.attn.proj, block.mlp.proj):
                linear.weight.normal_(0, 0.1, generator=generator)
    return model


def draw_weights(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(100 + seed))


def draw_hessian(columns: int, seed: int = 0, tokens: int = 4) -> torch.Tensor:
    """H of ``tokens`` x columns correlated inputs that differ in scale."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.eye(columns) + torch.randn(columns, columns, generator=generator) / math.sqrt(columns)
    x = torch.randn(tokens * columns, columns, generator=generator) @ mix
    x = x * torch.randn(columns, generator=generator).exp()
    return x.T @ x


def draw_layers() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, str]]:
    """Two layers whose q, k, v share an input, an MLP of another width, and an embedding.

    Returns the weights by name, the Hessians by input, and the input that each weight reads.
    """
    weights, inputs = {"tok_emb.weight": draw_weights(40, 16)}, {"tok_emb.weight": "tok_emb"}
    for i in range(2):
        for number, (leaf, rows) in enumerate({"c_q": 16, "c_k": 8, "c_v": 8}.items()):
            weights[f"blocks.{i}.attn.{leaf}.weight"] = draw_weights(rows, 16, 10 * i + number)
            inputs[f"blocks.{i}.attn.{leaf}.weight"] = f"blocks.{i}.attn"
        weights[f"blocks.{i}.mlp.proj.weight"] = draw_weights(16, 32, 10 * i + 5)
        inputs[f"blocks.{i}.mlp.proj.weight"] = f"blocks.{i}.mlp.proj"
    hessians = {
        source: draw_hessian(weights[name].shape[1], seed)
        for seed, (name, source) in enumerate(inputs.items(), start=1)
    }
    return weights, hessians, inputs
