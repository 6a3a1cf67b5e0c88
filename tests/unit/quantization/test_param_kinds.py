"""golf.quantization.param_kinds: which tensors are quantized."""

import pytest

from golf.quantization import param_kinds


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("tok_emb.weight", (4, 4), "embed"),
        ("blocks.3.attn.c_q.weight", (10, 10), "small"),
        ("blocks.3.attn.c_q.weight", (10, 11), "matrix"),
        ("blocks.3.resid_mix", (2, 1000), "small"),
        ("blocks.3.attn_scale", (1000,), "small"),
        ("skip_weights", (8, 1000), "small"),
        ("blocks.3.attn.gate.proj.weight", (10, 10), "small"),
        ("blocks.3.attn.gate.proj.weight", (10, 11), "matrix"),
        ("blocks.3.attn.gate.narrow", (10, 12), "small"),
        ("smear.inputs", (1000,), "small"),
        ("blocks.0.conv.taps", (63, 1000), "small"),
    ],
)
def test_matrices_of_more_than_min_weights_and_the_embedding_are_quantized(name, shape, expected):
    assert param_kinds.get_param_kind(name, shape, 100) == expected
