"""golf/training/optimizer.py on two ranks against one"""

from pathlib import Path

import pytest
import torch

from golf.artifacts import io
from golf.distributed import context
from tests.helpers.programs import optimizer_steps
from tests.helpers.programs.optimizer_steps import DTYPES, three_steps
from tests.helpers.stage_processes import run_ranks


@pytest.fixture(scope="module")
def output_prefix(tmp_path_factory) -> str:
    """Where two ranks left weights and state: <prefix>.<dtype>.<kind><rank>."""
    rendezvous = tmp_path_factory.mktemp("ranks") / "rendezvous"
    run_ranks(Path(optimizer_steps.__file__), rendezvous, 2)
    return str(rendezvous)


@pytest.fixture(params=list(DTYPES))
def step_results(request, output_prefix):
    """The dtype, and what three_steps returned by (world size, rank)."""
    dtype = DTYPES[request.param]
    results = {(1, 0): three_steps(context.single_process(dtype=dtype))}
    for rank in (0, 1):
        prefix = f"{output_prefix}.{request.param}"
        weights, state = (io.load_tensors(f"{prefix}.{kind}{rank}") for kind in ("weights", "state"))
        results[2, rank] = *weights, state[0]
    return dtype, results


def test_both_ranks_hold_the_same_weights_norms_and_losses(step_results):
    _, results = step_results
    (first_weights, first_figures, _), (second_weights, second_figures, _) = results[2, 0], results[2, 1]

    assert all(torch.equal(first_weights[name], second_weights[name]) for name in first_weights)
    assert first_figures == second_figures
    assert first_figures["losses"] == [3.0] * 3


def test_two_ranks_step_as_one_does_on_the_summed_gradient(step_results):
    dtype, results = step_results
    is_bf16 = dtype == torch.bfloat16
    (single_weights, single_figures, _), (weights, figures, _) = results[1, 0], results[2, 0]

    assert figures["norms"] == pytest.approx(single_figures["norms"], rel=1e-3 if is_bf16 else 1e-6)
    for name, weight in single_weights.items():
        difference = (weight - weights[name]).norm() / weight.norm().clamp_min(1e-6)
        assert difference < (3e-2 if is_bf16 else 1e-5), name


def test_the_momentum_of_a_matrix_lies_on_one_rank_alone_and_adamws_state_on_both(step_results):
    dtype, results = step_results
    single, states = results[1, 0][2], [results[2, rank][2] for rank in (0, 1)]
    muon = [{name for name in state if name.startswith("muon/")} for state in states]
    adamw = [{name for name in state if name.startswith("adamw/")} for state in states]

    assert not muon[0] & muon[1]
    assert muon[0] | muon[1] | adamw[0] == single.keys()
    assert len(muon[0]) == len(muon[1])
    assert adamw[0] == adamw[1]
    assert all(torch.equal(states[0][name], states[1][name]) for name in adamw[0])
    tolerance = {"rtol": 2e-2, "atol": 2e-3} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-6}
    for state, names in zip(states, muon, strict=True):
        for name in names:
            torch.testing.assert_close(state[name], single[name], **tolerance)
