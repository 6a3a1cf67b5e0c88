"""golf/method.py on several ranks: each way of scoring gives what one rank gives"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY_SHAPE
from processes import ranks_of

from golf.ground import runtime
from golf.ground.progress import Progress
from golf.method import Method
from golf.model.gpt import GPT
from golf.score import ledger, passes
from golf.score.ledger import Ledger

PLAN = SimpleNamespace(lr=0.05, momentum=0.9, epochs=2, clip=1.0, batch_tokens=96)  # three windows: uneven on two ranks
STREAM = np.random.default_rng(0).integers(0, 260, 400).astype(np.uint16)
WAYS = {"plain": (32, None), "sliding": (8, None), "ttt": (8, PLAN)}
RANK = """
import dataclasses, sys
import torch.distributed as dist
from golf.ground import runtime
sys.path.insert(0, sys.argv[1])
from test_method_ranks import WAYS, scored
meeting, rank = sys.argv[2], int(sys.argv[3])
dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)
for way in WAYS:
    scored(way, dataclasses.replace(runtime.alone(), rank=rank, ranks=2)).save(f"{meeting}.{way}.{rank}")
dist.destroy_process_group()
"""


def scored(way: str, here) -> Ledger:
    """A pass over the stream in chunks of three windows, the last one short, sealed chunk by chunk."""
    dice, model = torch.Generator().manual_seed(0), GPT(TINY_SHAPE)
    model.initialise(dice)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=dice) * 0.1)
    stride, plan = WAYS[way]
    method = Method(model, here, score_tokens=128).begin(stride=stride, plan=plan, chunks=5)
    line = Progress("t", 1, "x", quiet=True)
    return passes.complete(method, STREAM, np.ones(399), Ledger(way, 1), chunk_tokens=96, line=line)


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> str:
    """Where both of two ranks left their ledgers: <path>.<way>.<rank>."""
    meeting = tmp_path_factory.mktemp("ranks") / "meet"
    ranks_of(RANK, meeting, 2)
    return str(meeting)


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_score_what_one_scores_to_a_millionth_and_seal_one_ledger(together, way):
    one = scored(way, runtime.alone()).columns().nll.astype(np.float64)
    paths = [f"{together}.{way}.{rank}" for rank in range(2)]
    (first, _), (second, _) = map(ledger.read, paths)

    assert np.abs(first.nll - one).max() <= 1e-6 * one.max()
    assert first.nll.mean(dtype=np.float64) == pytest.approx(one.mean(), abs=1e-6)
    np.testing.assert_array_equal(first.nll, second.nll)
    np.testing.assert_array_equal(first.documents, second.documents)
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()
