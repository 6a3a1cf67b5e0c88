"""The same through the stage's own door, which is closed to val for every stage but those that may read it."""

from gallery import gptq_calibrated_on_val
from gallery.case import VAL_DIR, Violation

from golf.pipeline import runner

CASE = Violation(
    10,
    "GPTQ calibrated on val, the stage as its command enters it",
    "#728 #777",
    ("C1-e",),
    error_pattern="calibrate may not open .*: val is for evaluate alone",
)


def prepare_project(project_dir) -> None:
    runner.block_reads_below("calibrate", VAL_DIR)
    gptq_calibrated_on_val.prepare_project(project_dir)
