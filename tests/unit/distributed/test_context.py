"""golf/distributed/context.py"""

import dataclasses
import os
import subprocess
import sys

import torch

from golf.distributed import context
from tests.helpers.tiny_corpus import ROOT


def test_one_process_alone_sums_to_itself():
    here = context.single_process()
    tensor = torch.tensor([1.0, 2.0])
    assert here.is_main
    assert here.all_reduce(tensor) is tensor
    here.all_reduce_coalesced([tensor])
    here.all_reduce_max(0.0)
    assert tensor.tolist() == [1.0, 2.0]
    assert here.all_reduce_max(2.5) == 2.5


def test_autocast_leaves_weights_in_fp32():
    weight = torch.ones(2, 2)
    with dataclasses.replace(context.single_process(), dtype=torch.bfloat16).autocast():
        assert (weight @ weight).dtype == torch.bfloat16
    with context.single_process().autocast():
        assert (weight @ weight).dtype == torch.float32
    assert weight.dtype == torch.float32


def test_without_compile_a_function_stays_itself():
    assert context.single_process().maybe_compile(len) is len


RANK = """
import dataclasses, sys
import torch, torch.distributed as dist
from golf.ground import machine, params
ema = params.read(sys.argv[1]).ema
meeting, rank = sys.argv[2:]  # at a file: no port that another test could take
dist.init_process_group("gloo", f"file://{meeting}", rank=int(rank), world_size=2)
here = machine.setup(dataclasses.replace(ema, device="cpu", compile="off", dtype="float32", attention="sdpa"), "ema")
me = here.rank + 1
parts = [torch.full((2, 3), float(me)), torch.empty(0), torch.arange(4.0).reshape(2, 2).t() * me]
here.sum_flat(parts)
here.agree(0.0)
print(here.ranks, parts[0].tolist(), parts[1].shape[0], parts[2].tolist(), here.agree(me / 2),
      here.sum(torch.tensor([me])).item(), here.note.endswith("2 ranks"), flush=True)
dist.destroy_process_group()
"""


def test_two_ranks_hold_the_same_sums_afterwards(tmp_path):
    environment = os.environ | {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    script = ROOT / "profiles" / "laptop.yaml"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(script), str(tmp_path / "meet"), str(rank)],
            env=environment | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=60) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert said[0] == said[1], "to the digit, and nothing on stderr"
    assert said[0][0] == "2 [[3.0, 3.0, 3.0], [3.0, 3.0, 3.0]] 0 [[0.0, 6.0], [3.0, 9.0]] 1.0 3 True\n"
