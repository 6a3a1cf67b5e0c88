"""golf/distributed/context.py"""

import dataclasses

import torch

from golf.distributed import context


def test_sums_over_one_process_are_its_own_values():
    ctx = context.single_process()
    tensor = torch.tensor([1.0, 2.0])
    assert ctx.is_main
    assert ctx.all_reduce(tensor) is tensor
    ctx.all_reduce_coalesced_async([tensor])()
    assert tensor.tolist() == [1.0, 2.0]
    assert ctx.all_reduce_max(2.5) == 2.5


def test_autocast_leaves_weights_in_fp32():
    weight = torch.ones(2, 2)
    with dataclasses.replace(context.single_process(), dtype=torch.bfloat16).autocast():
        assert (weight @ weight).dtype == torch.bfloat16
    with context.single_process().autocast():
        assert (weight @ weight).dtype == torch.float32
    assert weight.dtype == torch.float32


def test_without_compile_a_function_stays_itself():
    assert context.single_process().maybe_compile(len) is len
