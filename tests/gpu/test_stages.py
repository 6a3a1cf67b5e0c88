"""The pipeline on a GPU gives the CPU's figures: every stage, as on a machine without DVC"""

import pytest

from golf.artifacts import io
from golf.distributed import device as distributed_device
from tests.helpers import tiny_project

SECTIONS = ("train", "ema", "ttt", "calibrate", "evaluate")
SCORES = ("val_bpb_plain", "val_bpb_sliding", "val_bpb_ttt")


def figures(folder) -> dict:
    return io.read_json(folder / "artifacts/evaluate/metrics.json")


def run_on(device: str, dtype: str, folder, compile_: str = "off"):
    """The finished thimble again from training on, in ``folder``."""
    execution = {"device": device, "dtype": dtype, "compile": compile_}
    tiny_project.set_params(folder, {f"{s}.{key}": value for s in SECTIONS for key, value in execution.items()})
    for stage in tiny_project.STAGES[1:]:
        tiny_project.run_stage_process(stage, folder)
    return folder


def agree(found: dict, expected: dict, tolerance: float) -> None:
    for key in SCORES:
        assert found[key] == pytest.approx(expected[key], rel=tolerance), key
    assert found["val_tokens"] == expected["val_tokens"]
    assert found["payload_bytes"] == pytest.approx(expected["payload_bytes"], rel=0.02)
    assert found["verdict"].split(":")[0] == expected["verdict"].split(":")[0]


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.005), ("bfloat16", 0.02)])
def test_on_a_gpu_every_stage_gives_the_cpus_figures(gpu, finished_run, tmp_path, dtype, tolerance):
    folder = run_on("cuda", dtype, tiny_project.copy_project(finished_run, tmp_path / "place"))
    agree(figures(folder), figures(finished_run), tolerance)


@pytest.mark.gpu
def test_on_a_gpu_compiled_stages_give_the_cpus_figures(gpu, finished_run, tmp_path):
    if lacking := distributed_device.missing_compiler(gpu):
        pytest.skip(f"needs {lacking}")
    folder = run_on("cuda", "bfloat16", tiny_project.copy_project(finished_run, tmp_path / "place"), compile_="auto")
    agree(figures(folder), figures(finished_run), 0.02)


@pytest.mark.soak
def test_in_bf16_on_the_cpu_every_stage_gives_the_figures_of_fp32(finished_run, tmp_path):
    folder = run_on("cpu", "bfloat16", tiny_project.copy_project(finished_run, tmp_path / "place"))
    agree(figures(folder), figures(finished_run), 0.02)
