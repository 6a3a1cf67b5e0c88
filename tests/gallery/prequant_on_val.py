"""Pre-quantization TTT: epochs of AdamW on all of val, then quantize and score the memorized text (#1485)."""

from gallery.case import Violation

from tests.helpers import tiny_project

SETTINGS = {"ttt.stream": "val", "ttt.method": "prequant", "quantize.weights": "ttt"}
CASE = Violation(1, "pre-quantization TTT on val", "#1376 #1485 #1735 #1911 #1972", ("C1-e", "C3-f"), settings=SETTINGS)


def prepare_project(project_dir) -> None:
    for stage in ("ttt", "calibrate", "quantize", "compress"):
        tiny_project.run_stage_in_process(stage)
