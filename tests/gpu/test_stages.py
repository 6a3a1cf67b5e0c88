"""The pipeline on a GPU gives the CPU's metrics: every stage, as on a machine without DVC"""

import pytest

from golf.distributed.device import find_missing_compiler
from tests.helpers import tiny_project
from tests.helpers.stage_metrics import assert_metrics_agree, read_metrics, rerun_stages


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.005), ("bfloat16", 0.02)])
def test_on_a_gpu_every_stage_gives_the_cpus_metrics(gpu, finished_run, tmp_path, dtype, tolerance):
    folder = rerun_stages("cuda", dtype, tiny_project.copy_project(finished_run, tmp_path / "project"))
    assert_metrics_agree(read_metrics(folder), read_metrics(finished_run), tolerance)


@pytest.mark.gpu
def test_on_a_gpu_compiled_stages_give_the_cpus_metrics(gpu, finished_run, tmp_path):
    if missing := find_missing_compiler(gpu):
        pytest.skip(f"needs {missing}")
    folder = rerun_stages(
        "cuda", "bfloat16", tiny_project.copy_project(finished_run, tmp_path / "project"), compile_="auto"
    )
    assert_metrics_agree(read_metrics(folder), read_metrics(finished_run), 0.02)
