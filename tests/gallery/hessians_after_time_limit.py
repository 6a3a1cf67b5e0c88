"""Hessians measured after a training loop that used all of its 600 s (#634, #1934)."""

from gallery.case import Violation

from golf.artifacts import io, json_records

CASE = Violation(11, "GPTQ outside the training time", "#634 #1934 #1950", ("B-c",))
TRAIN_CLOCK_PATH, CALIBRATE_CLOCK_PATH = "artifacts/train/timing.json", "artifacts/calibrate/timing.json"


def prepare_project(project_dir, train_s: float = 600.0, hessian_s: float = 46.0) -> None:
    train_clock = {"train_seconds": train_s, "limit_seconds": 600.0}
    json_records.write_sealed(TRAIN_CLOCK_PATH, io.read_json(TRAIN_CLOCK_PATH) | train_clock)
    json_records.write_sealed(CALIBRATE_CLOCK_PATH, io.read_json(CALIBRATE_CLOCK_PATH) | {"train_seconds": hessian_s})
