"""Calibration on val through the stage's command, which blocks val for every stage that may not read it."""

from gallery import gptq_calibrated_on_val
from gallery.case import VAL_DIR, Violation

from golf.pipeline import read_guard

CASE = Violation(
    10,
    "GPTQ calibrated on val, the stage as its command enters it",
    "#728 #777",
    ("C1-e",),
    error_pattern="calibrate may not open .*: only evaluate reads val",
)


def prepare_project(project_dir) -> None:
    read_guard.block_reads_below("calibrate", VAL_DIR)
    gptq_calibrated_on_val.prepare_project(project_dir)
