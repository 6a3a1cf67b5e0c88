"""stages/calibrate.py: tokens of train, or tokens that the model draws itself"""

from golf.artifacts import io
from tests.helpers import tiny_project


def test_generated_calibration_reads_no_train_and_quantizes(project_dir):
    tiny_project.set_params(project_dir, {"calibrate.source": "self", "calibrate.batches": 1})
    for stage in ("calibrate", "quantize"):
        tiny_project.run_stage_in_process(stage)
    record = io.read_header("artifacts/calibrate/hessians.safetensors")["meta"]["lineage"]
    assert list(record["inputs"]) == ["weights"]
    windows = io.load_tensors("artifacts/calibrate/tokens.safetensors", kind="tokens")[0]["windows"]
    assert len(windows.unique(dim=0)) == len(windows)
