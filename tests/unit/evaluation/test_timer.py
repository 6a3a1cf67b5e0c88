import contextlib
import time

import pytest

from golf.evaluation.timer import EvalTimer


def test_seconds_count_from_the_given_start():
    assert EvalTimer(time.time() - 100).counted_s() == pytest.approx(100, abs=1)
    assert EvalTimer().counted_s() == pytest.approx(0, abs=1)


def test_the_timer_is_paused_in_an_excluded_block_however_it_ends():
    timer = EvalTimer(limit_s=1e8)
    with contextlib.suppress(KeyError), timer.excluded():
        counted_s = timer.counted_s()
        time.sleep(0.05)
        assert timer.counted_s() == counted_s
        assert (timer.is_paused, timer.remaining_s()) == (True, None)
        with timer.excluded():
            raise KeyError
    assert not timer.is_paused
    assert 0.05 <= timer.excluded_s < 50
    assert timer.counted_s() == pytest.approx(counted_s, abs=0.04)


def test_seconds_measured_elsewhere_are_excluded():
    timer = EvalTimer(time.time() - 100, limit_s=600)
    timer.exclude(25)
    assert timer.counted_s() == pytest.approx(75, abs=1)
    assert timer.remaining_s() == pytest.approx(525, abs=1)


def test_without_a_limit_or_after_it_is_lifted_nothing_remains_to_wait_for():
    timer = EvalTimer(time.time() - 100, limit_s=60)
    assert timer.remaining_s() == pytest.approx(-40, abs=1)
    timer.lift_limit()
    assert timer.remaining_s() is EvalTimer().remaining_s() is None
