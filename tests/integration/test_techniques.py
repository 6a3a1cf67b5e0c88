"""The whole pipeline with every optional technique of model, training and quantization on."""

import pytest

from golf.artifacts import io
from golf.compression import reader
from tests.helpers import tiny_project
from tests.helpers.tiny_training import MODEL_OPTIONS, TRAINING_OPTIONS

MODULES = {
    *(f"golf/model/{name}.py" for name in ("gates", "residual_lanes", "short_conv", "smear_gate")),
    *(f"golf/compression/{name}.py" for name in ("low_rank", "rotation", "stored_weights")),
}


@pytest.mark.slow
def test_a_run_with_every_technique_is_valid_and_packs_their_modules(tmp_path, monkeypatch):
    folder = tiny_project.create_project(tmp_path / "project")
    params = {f"model.{key}": value for key, value in (MODEL_OPTIONS | {"two_lane_from": 2}).items()}
    params |= {f"train.{key}": value for key, value in TRAINING_OPTIONS.items()}
    params |= {
        "train.context_schedule": [[16, 0.4], [32, 1.0]],
        "train.data_order": "documents",
        "ema.share": 0.6,
        "quantize.rotate": 7,
        "quantize.lqer": 2,
        "quantize.min_weights": 100,  # so that the gates' matrices are quantized too
    }
    tiny_project.set_params(folder, params)
    monkeypatch.chdir(folder)
    for stage in tiny_project.STAGES:
        tiny_project.run_stage_in_process(stage)

    metrics = io.read_json(folder / "artifacts/evaluate/metrics.json")
    tensors, header = reader.read(folder / "artifacts/compress/model.golf")
    assert metrics["verdict"].startswith("valid")
    assert metrics["val_bpb_plain"] < 6
    assert set(io.read_json(folder / "artifacts/compress/sizes.json")["code_files"]) >= MODULES
    assert "blocks.0.attn.gate.proj.weight.codes" in tensors or "blocks.0.attn.gate.proj.weight" not in tensors
    assert tensors["extra.rotation_seed"].tolist() == [7]
    assert sum(name.startswith("extra.low_rank.") for name in tensors) == 3
    assert header.model.asym_softcap
    assert tensors["softcaps"].tolist() == [30.0, 30.0]
