"""golf.compression.quantized_tensor: stored tensors become a state dict."""

import torch

from golf.compression import quantized_tensor
from golf.compression.quantized_tensor import QuantizedTensor


def test_stored_tensors_give_back_a_whole_state_dict_in_fp32():
    quantized = QuantizedTensor(torch.tensor([[1, -2]], dtype=torch.int8), torch.tensor([0.5], dtype=torch.float16))
    stored = {
        "a.codes": quantized.codes,
        "a.row_scales": quantized.row_scales,
        "b": torch.tensor([0.25], dtype=torch.float16),
    }
    state = quantized_tensor.dequantize_state_dict(stored)
    assert state["a"].tolist() == [[0.5, -1.0]]
    assert state["b"].tolist() == [0.25]
    assert {t.dtype for t in state.values()} == {torch.float32}
