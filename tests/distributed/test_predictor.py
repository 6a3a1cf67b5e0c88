"""golf/inference/predictor.py on several ranks: each way of scoring gives what one rank gives"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from golf.distributed import context
from golf.evaluation import ledger, scoring_loop
from golf.evaluation.ledger import Ledger
from golf.inference.predictor import GolfPredictor
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from tests.helpers.stage_processes import run_ranks
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG

PLAN = SimpleNamespace(
    lr=0.05, momentum=0.9, epochs=2, grad_clip=1.0, batch_tokens=96
)  # three windows: uneven on two ranks
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
    dice, model = torch.Generator().manual_seed(0), GPT(TINY_MODEL_CONFIG)
    model.init_weights(dice)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=dice) * 0.1)
    stride, plan = WAYS[way]
    method = GolfPredictor(model, here, eval_batch_tokens=128).reset(stride=stride, ttt_cfg=plan, n_chunks=5)
    line = Progress("t", 1, "x", quiet=True)
    return scoring_loop.score_whole_stream(method, STREAM, np.ones(399), Ledger(way, 1), chunk_tokens=96, progress=line)


@pytest.fixture(scope="module")
def ledger_prefix(tmp_path_factory) -> str:
    """Where both of two ranks left their ledgers: <path>.<way>.<rank>."""
    meeting = tmp_path_factory.mktemp("ranks") / "meet"
    run_ranks(RANK, meeting, 2)
    return str(meeting)


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_score_what_one_scores_to_a_millionth_and_seal_one_ledger(ledger_prefix, way):
    one = scored(way, context.single_process()).to_data().nll.astype(np.float64)
    paths = [f"{ledger_prefix}.{way}.{rank}" for rank in range(2)]
    (first, _), (second, _) = map(ledger.read, paths)

    assert np.abs(first.nll - one).max() <= 1e-6 * one.max()
    assert first.nll.mean(dtype=np.float64) == pytest.approx(one.mean(), abs=1e-6)
    np.testing.assert_array_equal(first.nll, second.nll)
    np.testing.assert_array_equal(first.documents, second.documents)
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()
