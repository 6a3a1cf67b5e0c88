import pytest

from golf.training import schedule


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 1.0), (0.27, 1.0), (0.28, 1.0), (0.64, 0.5), (0.82, 0.25), (1.0, 0.0)]
)
def test_the_record_rate_holds_then_falls_straight_to_zero(progress, expected):
    assert schedule.lr_multiplier(progress, warmdown_frac=0.72, min_lr_frac=0.0) == pytest.approx(expected)


def test_the_rate_never_falls_below_its_minimum():
    assert schedule.lr_multiplier(0.99, warmdown_frac=0.72, min_lr_frac=0.1) == pytest.approx(0.1)
    assert schedule.lr_multiplier(0.5, warmdown_frac=0.0, min_lr_frac=0.1) == 1.0


@pytest.mark.parametrize(("step", "expected"), [(0, 0.92), (750, 0.955), (1500, 0.99), (4000, 0.99)])
def test_the_record_momentum_rises_over_1500_steps(step, expected):
    assert schedule.muon_momentum(step, start=0.92, end=0.99, warmup_steps=1500) == pytest.approx(expected)


def test_recurrence_starts_at_its_share_and_never_with_a_single_pass():
    assert [schedule.is_recurrence_active(p, 0.35, 3) for p in (0.0, 0.34, 0.35, 1.0)] == [False, False, True, True]
    assert not schedule.is_recurrence_active(1.0, 0.35, 1)
