"""GPTQ calibrated on val: its statistics are baked into the rounding of every weight (#728, #777)."""

from unittest import mock

from gallery.case import VAL_DIR, Violation

from tests.helpers import tiny_project

CASE = Violation(10, "GPTQ calibrated on val", "#728 #777", ("C1-e", "C3-f"))


def prepare_project(project_dir) -> None:
    with mock.patch("stages.calibrate.TRAIN_DIR", VAL_DIR):
        tiny_project.run_stage_in_process("calibrate")
    tiny_project.run_stage_in_process("quantize")
    tiny_project.run_stage_in_process("compress")
