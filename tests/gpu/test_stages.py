"""The pipeline on a GPU gives the CPU's metrics: every stage, as on a machine without DVC"""

import pytest

from golf.artifacts import io
from golf.distributed.device import missing_compiler
from tests.helpers import tiny_project

MODEL_STAGES = ("train", "ema", "ttt", "calibrate", "evaluate")
SCORES = ("val_bpb_plain", "val_bpb_sliding", "val_bpb_ttt")


def read_metrics(folder) -> dict:
    return io.read_json(folder / "artifacts/evaluate/metrics.json")


def rerun(device: str, dtype: str, folder, compile_: str = "off"):
    """Run every stage after fetch again in ``folder``."""
    execution = {"device": device, "dtype": dtype, "compile": compile_}
    tiny_project.set_params(folder, {f"{s}.{key}": value for s in MODEL_STAGES for key, value in execution.items()})
    for stage in tiny_project.STAGES[1:]:
        tiny_project.run_stage_process(stage, folder)
    return folder


def assert_metrics_agree(actual: dict, expected: dict, tolerance: float) -> None:
    for key in SCORES:
        assert actual[key] == pytest.approx(expected[key], rel=tolerance), key
    assert actual["val_tokens"] == expected["val_tokens"]
    assert actual["payload_bytes"] == pytest.approx(expected["payload_bytes"], rel=0.02)
    assert actual["verdict"].split(":")[0] == expected["verdict"].split(":")[0]


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.005), ("bfloat16", 0.02)])
def test_on_a_gpu_every_stage_gives_the_cpus_read_metrics(gpu, finished_run, tmp_path, dtype, tolerance):
    folder = rerun("cuda", dtype, tiny_project.copy_project(finished_run, tmp_path / "project"))
    assert_metrics_agree(read_metrics(folder), read_metrics(finished_run), tolerance)


@pytest.mark.gpu
def test_on_a_gpu_compiled_stages_give_the_cpus_read_metrics(gpu, finished_run, tmp_path):
    if missing := missing_compiler(gpu):
        pytest.skip(f"needs {missing}")
    folder = rerun("cuda", "bfloat16", tiny_project.copy_project(finished_run, tmp_path / "project"), compile_="auto")
    assert_metrics_agree(read_metrics(folder), read_metrics(finished_run), 0.02)


@pytest.mark.soak
def test_in_bf16_on_the_cpu_every_stage_gives_the_metrics_of_fp32(finished_run, tmp_path):
    folder = rerun("cpu", "bfloat16", tiny_project.copy_project(finished_run, tmp_path / "project"))
    assert_metrics_agree(read_metrics(folder), read_metrics(finished_run), 0.02)
