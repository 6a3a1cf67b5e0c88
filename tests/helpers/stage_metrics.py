"""The metrics of the pipeline on another device or in another dtype, beside those of the finished run."""

from pathlib import Path

import pytest

from golf.artifacts import io
from tests.helpers import tiny_project

_MODEL_STAGES = ("train", "ema", "ttt", "calibrate", "evaluate")
_SCORES = ("val_bpb_plain", "val_bpb_sliding", "val_bpb_ttt")


def read_metrics(folder: Path) -> dict:
    return io.read_json(folder / "artifacts/evaluate/metrics.json")


def rerun_stages(device: str, dtype: str, folder: Path, compile_: str = "off") -> Path:
    """Run every stage after fetch again in ``folder``."""
    execution = {"device": device, "dtype": dtype, "compile": compile_}
    tiny_project.set_params(folder, {f"{s}.{key}": value for s in _MODEL_STAGES for key, value in execution.items()})
    for stage in tiny_project.STAGES[1:]:
        tiny_project.run_stage_process(stage, folder)
    return folder


def assert_metrics_agree(actual: dict, expected: dict, tolerance: float) -> None:
    for key in _SCORES:
        assert actual[key] == pytest.approx(expected[key], rel=tolerance), key
    assert actual["val_tokens"] == expected["val_tokens"]
    assert actual["payload_bytes"] == pytest.approx(expected["payload_bytes"], rel=0.02)
    assert actual["verdict"].split(":")[0] == expected["verdict"].split(":")[0]
