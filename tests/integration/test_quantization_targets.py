"""benchmarks/quantization_targets.py on a finished run: every variant is measured beside the grid"""

import sys

import torch

from golf.artifacts import io
from tests.helpers.quantization_inputs import MODEL_CONFIG, make_model
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import calibration_data
import quantization_targets


def test_every_variant_has_a_row_at_each_base_step(finished_run, tmp_path, monkeypatch):
    folder, path = finished_run / "artifacts", tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["quantization_targets.py", str(folder), "--windows", "4", "--json", str(path)])
    quantization_targets.main()

    rows = io.read_json(path)["runs"][str(folder)]
    n_steps = len(quantization_targets.BASE_STEPS)
    assert [row["variant"] for row in rows] == [name for name in quantization_targets.VARIANTS for _ in range(n_steps)]
    assert all(row["kl"] > 0 and row["bits"] > 0 for row in rows)


def test_text_sampled_with_a_cache_is_what_the_whole_model_would_sample():
    model = make_model()
    windows = calibration_data.sample_windows(model, 3, MODEL_CONFIG.context_length)
    rng, expected = torch.Generator().manual_seed(0), torch.ones(3, 1, dtype=torch.int64)
    with torch.no_grad():
        for _ in range(MODEL_CONFIG.context_length - 1):
            probs = model.logits(model(expected, recurrent=True))[:, -1].softmax(-1)
            expected = torch.cat([expected, torch.multinomial(probs, 1, generator=rng)], dim=1)
    assert torch.equal(windows, expected)


def test_output_covariances_are_those_of_gradients_per_token():
    model, windows = make_model(), torch.randint(0, MODEL_CONFIG.vocab_size, (4, 17))
    name = "blocks.0.mlp.proj.weight"
    once = calibration_data.compute_output_covariances(model, [name], windows)[name]
    assert once.shape == (MODEL_CONFIG.d_model,) * 2
    assert once.diagonal().min() > 0
    assert torch.allclose(once, once.T)
