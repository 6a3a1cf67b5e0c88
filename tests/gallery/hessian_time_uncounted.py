"""A few seconds of Hessians not added to a training loop of 599.6 s, as in merged records (#1787, #1851, #1855)."""

from gallery import hessians_after_time_limit
from gallery.case import Violation

CASE = Violation(12, "3.5 s of GPTQ left out of 600 s", "#1787 #1851 #1855 #1868", ("B-c",))


def prepare_project(project_dir) -> None:
    hessians_after_time_limit.prepare_project(project_dir, train_s=599.6, hessian_s=3.5)
