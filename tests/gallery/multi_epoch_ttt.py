"""Several epochs of SGD on a chunk after it is scored: merged twice with three epochs, never ruled on (#1698)."""

from gallery.case import Violation

from tests.helpers import tiny_project

CASE = Violation(
    0,
    "several epochs on scored chunks",
    "#549 #1493 #1698",
    ("U-a",),
    expected_status="UNRULED",
    settings={"ttt.epochs": 3},
)


def prepare_project(project_dir) -> None:
    tiny_project.run_stage_in_process("ttt")
