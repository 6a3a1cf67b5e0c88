import time

import pytest

from golf.evaluation.timer import EvalTimer


def test_seconds_count_from_the_given_start():
    assert EvalTimer(time.time() - 100).counted_s() == pytest.approx(100, abs=1)
    assert EvalTimer().counted_s() == pytest.approx(0, abs=1)


def test_without_a_limit_or_after_it_is_lifted_nothing_remains_to_wait_for():
    timer = EvalTimer(time.time() - 100, limit_s=60)
    assert timer.remaining_s() == pytest.approx(-40, abs=1)
    timer.lift_limit()
    assert timer.remaining_s() is EvalTimer().remaining_s() is None
