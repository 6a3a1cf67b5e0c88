import pytest

from golf.artifacts import json_records
from golf.errors import ArtifactError, BudgetExceededError
from golf.training.time_budget import TrainingBudget, make_overrun_note, read_remaining_s


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
    assert TrainingBudget(limit_s, steps).progress(step, seconds) == pytest.approx(expected)


def test_the_clock_stands_still_until_the_first_real_step():
    clock = TrainingBudget(1.0, None)

    assert clock.elapsed_s() == 0.0
    clock.start()
    assert clock.elapsed_s() > 0.0


def test_what_earlier_processes_used_is_on_the_clock_from_the_start():
    clock = TrainingBudget(100.0, None, used_before_s=40.0)

    assert clock.elapsed_s() == 40.0
    clock.start()
    assert 40.0 < clock.elapsed_s() < 60.0


@pytest.fixture
def timing_path(tmp_path):
    path = tmp_path / "timing.json"
    json_records.write_sealed(path, {"train_seconds": 590.5, "limit_seconds": 600.0})
    return path


def test_calibration_has_what_training_left_of_the_limit(timing_path):
    assert read_remaining_s(600.0, timing_path) == pytest.approx(9.5)
    assert read_remaining_s(None, timing_path) is None


def test_several_stages_share_one_limit(timing_path, tmp_path):
    other_path = tmp_path / "other.json"
    json_records.write_sealed(other_path, {"train_seconds": 4.5})
    assert read_remaining_s(600.0, timing_path, other_path) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("limit_s", "time_left_s", "used_s", "note"),
    [
        (None, None, 90.0, ""),
        (600.0, 10.0, 10.0, ""),
        (
            600.0,
            10.0,
            12.5,
            "; training and calibration took 602.5 s, over train.limit_s = 600 s: raise train.reserve_s",
        ),
    ],
)
def test_a_stage_that_used_more_than_was_left_says_by_how_much(limit_s, time_left_s, used_s, note):
    assert make_overrun_note(limit_s, time_left_s, used_s) == note


def test_training_that_left_nothing_names_the_key_that_keeps_some(timing_path):
    with pytest.raises(
        BudgetExceededError, match=r"train\.limit_s: 590\.5 s, .* used 590\.5 s .*raise train\.reserve_s"
    ):
        read_remaining_s(590.5, timing_path)


def test_a_malformed_timing_json_is_named(timing_path):
    json_records.write_sealed(timing_path, {"train_seconds": "long"})
    with pytest.raises(ArtifactError, match=r"timing\.json: train_seconds: must be a number, got 'long'"):
        read_remaining_s(600.0, timing_path)
