import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.errors import ConfigError
from golf.training import ema
from golf.training.ema import EMATracker

STEPS, SNAPSHOT_EVERY, MAX_SNAPSHOTS, BASIS_DECAYS = 250, 5, 10, (0.9, 0.98)


def walk(decays, steps=STEPS, max_snapshots=MAX_SNAPSHOTS):
    """A random walk of weights, the tracker that followed it, and every position of it."""
    weights = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    tracker = EMATracker(weights, decays, BASIS_DECAYS, max_snapshots, SNAPSHOT_EVERY)
    path = [{name: w.double().clone() for name, w in weights.items()}]
    for _ in range(steps):
        for weight in weights.values():
            weight.add_(0.1 * torch.randn(weight.shape))
        tracker.update()
        path.append({name: w.double().clone() for name, w in weights.items()})
    tracker.take_snapshot()
    return tracker, path


def test_a_tracked_average_is_the_recursion_from_the_initial_weights():
    tracker, path = walk([0.9965])
    slow = path[0]
    for position in path[1:]:
        slow = {name: 0.9965 * slow[name] + (1 - 0.9965) * position[name] for name in slow}

    for name, tensor in tracker.copy_average(0.9965).items():
        torch.testing.assert_close(tensor.double(), slow[name], atol=1e-5, rtol=0)


def test_a_profile_is_what_the_recursion_gives_each_step():
    tracker, path = walk([0.95], steps=40)
    weights = ema.compute_weight_profile(0.95, 40, 40)

    assert weights.sum() == pytest.approx(1.0)
    for name, tensor in tracker.copy_average(0.95).items():
        summed = sum(p * position[name] for p, position in zip(weights, path, strict=True))
        torch.testing.assert_close(tensor.double(), summed, atol=1e-5, rtol=0)


@pytest.mark.parametrize("decay", [0.88, 0.93, 0.955, 0.97])
def test_a_decay_chosen_afterwards_is_the_average_that_would_have_been_tracked(decay):
    tracker, _ = walk([decay])
    posthoc = ema.require_posthoc(decay, BASIS_DECAYS, sorted(tracker.snapshots), STEPS)

    combined = ema.combine_snapshots(posthoc, lambda decay, step: tracker.snapshots[step][decay])

    assert posthoc.error <= ema.PROFILE_ERROR_TOLERANCE
    tracked = tracker.copy_average(decay)
    moved = max((tracked[name] - tracker.weights[name]).norm().item() for name in tracked)
    for name in tracked:
        assert (combined[name] - tracked[name]).norm().item() <= 2 * ema.PROFILE_ERROR_TOLERANCE * moved


def test_a_decay_outside_the_covered_range_is_refused_with_that_range():
    tracker, _ = walk([])
    with pytest.raises(ConfigError, match=r"ema\.decay: 0\.999 is not covered .* covered: 0\.8\d* to 0\.98"):
        ema.require_posthoc(0.999, BASIS_DECAYS, sorted(tracker.snapshots), STEPS)


def test_the_basis_decays_themselves_are_covered_exactly():
    tracker, _ = walk([])
    for decay in BASIS_DECAYS:
        assert ema.solve_posthoc(decay, BASIS_DECAYS, sorted(tracker.snapshots), STEPS).error < 1e-9


@given(steps=st.integers(1, 400), max_snapshots=st.integers(1, 12), every=st.integers(1, 20))
def test_no_more_snapshots_are_held_than_promised_and_the_last_step_is_one(steps, max_snapshots, every):
    tracker = EMATracker({"a": torch.zeros(1)}, [], BASIS_DECAYS, max_snapshots, every)
    for _ in range(steps):
        tracker.update()
        assert len(tracker.snapshots) <= max_snapshots
    tracker.take_snapshot()

    assert len(tracker.snapshots) <= max_snapshots
    assert max(tracker.snapshots) == steps


def test_snapshots_thin_out_with_age():
    kept = ema.thin_snapshots(list(range(5, 505, 5)), 10, 5)
    gaps = np.diff(kept)

    assert kept[-1] == 500
    assert (np.diff(gaps) <= 0).all()
    assert gaps[0] > 4 * gaps[-1]


def test_the_range_that_is_named_has_its_holes_named_too():
    text = ema.describe_covered_decays((0.9, 0.98), [5, 10, 15, 20], 20)

    for covered_range in text.split(", "):
        low, high = map(float, covered_range.split(" to "))
        for decay in (low, high):
            assert (
                ema.solve_posthoc(decay, (0.9, 0.98), [5, 10, 15, 20], 20).error <= ema.PROFILE_ERROR_TOLERANCE + 1e-4
            )
    inside = [tuple(map(float, covered_range.split(" to "))) for covered_range in text.split(", ")]
    for decay in (0.94, 0.95, 0.96):
        covers = ema.solve_posthoc(decay, (0.9, 0.98), [5, 10, 15, 20], 20).error <= ema.PROFILE_ERROR_TOLERANCE
        assert covers == any(low <= decay <= high for low, high in inside)


def test_a_share_of_the_average_is_blended_with_the_last_weights():
    average, last = ({"a": torch.randn(3, 4)} for _ in range(2))
    blended = ema.blend_with_last(average, last, 0.6)["a"].double()
    torch.testing.assert_close(blended, 0.6 * average["a"].double() + 0.4 * last["a"].double(), rtol=0, atol=1e-6)
    assert ema.blend_with_last(average, last, 1.0) is average
