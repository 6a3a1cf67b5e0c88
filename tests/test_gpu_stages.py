"""The pipeline on a GPU gives the CPU's figures: every stage, as on a machine without DVC"""

import pytest
import thimble

from golf.ground import machine, store

SECTIONS = ("train", "ema", "ttt", "calibrate", "evaluate")
SCORES = ("val_bpb_plain", "val_bpb_sliding", "val_bpb_ttt")


def figures(folder) -> dict:
    return store.read_json(folder / "artifacts/evaluate/metrics.json")


def run_on(device: str, dtype: str, folder, compile_: str = "off"):
    """The finished thimble again from training on, in ``folder``."""
    execution = {"device": device, "dtype": dtype, "compile": compile_}
    thimble.turn(folder, {f"{s}.{key}": value for s in SECTIONS for key, value in execution.items()})
    for stage in thimble.STAGES[1:]:
        thimble.run(stage, folder)
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
    folder = run_on("cuda", dtype, thimble.copy(finished_run, tmp_path / "place"))
    agree(figures(folder), figures(finished_run), tolerance)


@pytest.mark.gpu
def test_on_a_gpu_compiled_stages_give_the_cpus_figures(gpu, finished_run, tmp_path):
    if lacking := machine.compiler_missing(gpu):
        pytest.skip(f"needs {lacking}")
    folder = run_on("cuda", "bfloat16", thimble.copy(finished_run, tmp_path / "place"), compile_="auto")
    agree(figures(folder), figures(finished_run), 0.02)


@pytest.mark.soak
def test_in_bf16_on_the_cpu_every_stage_gives_the_figures_of_fp32(finished_run, tmp_path):
    folder = run_on("cpu", "bfloat16", thimble.copy(finished_run, tmp_path / "place"))
    agree(figures(folder), figures(finished_run), 0.02)
