import math

import pytest
import torch

from golf.model.attention import causal, door


@pytest.mark.parametrize("tail", [1, 3, 7])
def test_torch_attention_is_causal_softmax_attention_with_shared_keys(tail):
    q, k, v = torch.randn(2, tail, 4, 8).double(), torch.randn(2, 7, 2, 8).double(), torch.randn(2, 7, 2, 8).double()

    y = door("sdpa")(q, k, v)

    for b in range(2):
        for i in range(tail):
            for h in range(4):
                last = 7 - tail + i + 1
                scores = k[b, :last, h // 2] @ q[b, i, h] / math.sqrt(8)
                torch.testing.assert_close(y[b, i, h], scores.softmax(0) @ v[b, :last, h // 2])


def test_the_mask_lets_the_last_query_see_every_key():
    assert causal(2, 4, "cpu").tolist() == [[True, True, True, False], [True, True, True, True]]


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["flash4", "flash3", "flash2"])
@pytest.mark.parametrize("tail", [64, 256])
def test_every_installed_backend_agrees_with_torch(gpu, backend, tail):
    from golf.ground.runtime import backend_missing

    if problem := backend_missing(backend, gpu, torch.bfloat16):
        pytest.skip(f"{backend} {problem}")
    q, k, v = (torch.randn(2, t, h, 64, device=gpu, dtype=torch.bfloat16) for t, h in ((tail, 8), (256, 4), (256, 4)))

    torch.testing.assert_close(door(backend)(q, k, v), door("sdpa")(q, k, v), atol=2e-2, rtol=2e-2)
