import pytest

from golf.ground import store
from golf.ground.errors import BadArtifact, OverBudget
from golf.train import clock as clocks
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


def test_what_earlier_processes_used_is_on_the_clock_from_the_start():
    clock = Clock(100.0, None, used_s=40.0)

    assert clock.seconds() == 40.0
    clock.start()
    assert 40.0 < clock.seconds() < 60.0


@pytest.fixture
def told(tmp_path):
    path = tmp_path / "clock.json"
    store.write_json(path, {"train_seconds": 590.5, "limit_seconds": 600.0})
    return path


def test_calibration_has_what_training_left_of_the_limit(told):
    assert clocks.left(600.0, told) == pytest.approx(9.5)
    assert clocks.left(None, told) is None


def test_training_that_left_nothing_names_the_key_that_keeps_some(told):
    with pytest.raises(OverBudget, match=r"train\.limit_s: 590\.5 s, .* used 590\.5 s: .*raise train\.reserve_s"):
        clocks.left(590.5, told)


def test_a_clock_that_does_not_tell_is_named(told):
    store.write_json(told, {"train_seconds": "long"})
    with pytest.raises(BadArtifact, match=r"clock\.json: train_seconds must be a number, got 'long'"):
        clocks.left(600.0, told)
