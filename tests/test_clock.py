import pytest

from golf.train.clock import Clock


@pytest.mark.parametrize(
    ("limit_s", "steps", "step", "seconds", "expected"),
    [
        (100.0, None, 7, 25.0, 0.25),
        (None, 200, 50, 1e9, 0.25),
        (100.0, 200, 50, 60.0, 0.6),
        (100.0, 200, 150, 60.0, 0.75),
        (100.0, 200, 10, 130.0, 1.0),
    ],
)
def test_progress_is_the_larger_share_of_seconds_and_steps(limit_s, steps, step, seconds, expected):
    assert Clock(limit_s, steps).progress(step, seconds) == pytest.approx(expected)


def test_the_clock_stands_still_until_the_first_real_step():
    clock = Clock(1.0, None)

    assert clock.seconds() == 0.0
    clock.start()
    assert clock.seconds() > 0.0
