import pytest

from golf.training import schedule


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 1.0), (0.27, 1.0), (0.28, 1.0), (0.64, 0.5), (0.82, 0.25), (1.0, 0.0)]
)
def test_the_record_rate_holds_then_falls_straight_to_zero(progress, expected):
    assert schedule.compute_lr_multiplier(progress, warmdown_frac=0.72, min_lr_frac=0.0) == pytest.approx(expected)


def test_the_rate_never_falls_below_its_minimum():
    assert schedule.compute_lr_multiplier(0.99, warmdown_frac=0.72, min_lr_frac=0.1) == pytest.approx(0.1)
    assert schedule.compute_lr_multiplier(0.5, warmdown_frac=0.0, min_lr_frac=0.1) == 1.0


@pytest.mark.parametrize(("step", "expected"), [(0, 0.92), (750, 0.955), (1500, 0.99), (4000, 0.99)])
def test_the_record_momentum_rises_over_1500_steps(step, expected):
    assert schedule.compute_muon_momentum(step, start=0.92, end=0.99, warmup_steps=1500) == pytest.approx(expected)


def test_recurrence_starts_at_its_share_and_never_with_a_single_pass():
    assert [schedule.is_recurrence_active(p, 0.35, 3) for p in (0.0, 0.34, 0.35, 1.0)] == [False, False, True, True]
    assert not schedule.is_recurrence_active(1.0, 0.35, 1)


def test_the_context_is_that_of_the_first_entry_not_yet_past():
    entries = ((1024.0, 0.1), (2048.0, 0.7), (3072.0, 1.0))
    progress = (0.0, 0.1, 0.100001, 0.7, 0.71, 1.0)
    assert [schedule.choose_context(p, entries) for p in progress] == [1024, 1024, 2048, 2048, 3072, 3072]


def test_the_rates_rise_linearly_after_a_switch_and_not_before_any():
    assert [schedule.compute_warmup_multiplier(step, 10, 4) for step in range(10, 16)] == [
        0.25,
        0.5,
        0.75,
        1.0,
        1.0,
        1.0,
    ]
    assert schedule.compute_warmup_multiplier(0, None, 4) == schedule.compute_warmup_multiplier(10, 10, 0) == 1.0


def test_weight_decay_falls_to_zero_or_stays():
    assert [schedule.compute_decay_multiplier(p, "linear") for p in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]
    assert {schedule.compute_decay_multiplier(p, name) for p in (0.0, 0.9) for name in ("constant", "cautious")} == {
        1.0
    }


def test_every_kind_of_step_that_can_come_is_compiled_and_no_other():
    entries = ((32.0, 0.1), (64.0, 0.7), (96.0, 1.0))
    graphs = schedule.list_training_graphs(entries, 96, 0.35, 3)
    assert graphs == [(32, False), (64, False), (64, True), (96, True)]
    came = {
        (schedule.choose_context(p, entries), schedule.is_recurrence_active(p, 0.35, 3))
        for p in (i / 1000 for i in range(1001))
    }
    assert came == set(graphs)
    assert schedule.list_training_graphs(entries, 96, 0.35, 1) == [(32, False), (64, False), (96, False)]
    assert schedule.list_training_graphs(None, 96, 0.35, 2) == [(96, False), (96, True)]
