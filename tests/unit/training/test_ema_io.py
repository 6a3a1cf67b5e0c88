import pytest
import torch

from golf.artifacts import io, json_records
from golf.errors import ArtifactError, ConfigError
from golf.model.gpt import GPT
from golf.training import ema_io
from golf.training.ema import EMATracker


@pytest.fixture
def saved_ema(tmp_path, tiny_model_config):
    model = GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0))
    ema = EMATracker(dict(model.named_parameters()), [0.95, 0.93], (0.9, 0.98), 10, 5)
    for step in range(60):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step)))
        ema.update()
    ema.take_snapshot()
    ema_io.save(tmp_path / "ema", ema, tiny_model_config, lineage={"splits_seen": ["train"]})
    return tmp_path / "ema", ema


def test_a_tracked_decay_comes_back_bit_for_bit(saved_ema, tiny_model_config):
    folder, ema = saved_ema
    weights, info, _ = ema_io.load(folder, 0.95, tiny_model_config)

    assert info["source"] == "tracked"
    assert all(torch.equal(weights[name], tensor) for name, tensor in ema.copy_average(0.95).items())


def test_another_decay_is_combined_and_says_with_what_error(saved_ema, tiny_model_config):
    folder, ema = saved_ema
    (folder / "decay_0.93.safetensors").unlink()
    json_records.write_sealed(folder / "index.json", io.read_json(folder / "index.json") | {"decays": [0.95]})

    weights, info, _ = ema_io.load(folder, 0.93, tiny_model_config)

    assert info["source"] == "combined"
    assert 0 < info["profile_error"] <= 0.01
    for name, tensor in ema.copy_average(0.93).items():
        torch.testing.assert_close(weights[name], tensor, atol=2e-3, rtol=0)


def test_a_decay_that_is_not_covered_is_refused(saved_ema, tiny_model_config):
    with pytest.raises(ConfigError, match=r"ema\.decay: 0\.2 is not covered"):
        ema_io.load(saved_ema[0], 0.2, tiny_model_config)


def test_an_index_without_its_keys_is_refused_by_name(saved_ema, tiny_model_config):
    io.write_json(saved_ema[0] / "index.json", {"steps": 60})
    with pytest.raises(ArtifactError, match=r"index\.json: lacks decays, basis_decays, snapshots"):
        ema_io.load(saved_ema[0], 0.95, tiny_model_config)


IMPOSSIBLE_VALUES = [
    *({"steps": value} for value in (-1, 0, 1.5, True, None, "60", [], 10**12, 4)),
    *({key: value} for key in ("decays", "basis_decays") for value in (3, ["a"], [None], [1.5], [[0.9]], {"a": 1})),
    *({"basis_decays": value} for value in ([], [0.9], [0.9, 0.9], [0.9, 0.95, 0.98])),
    *({"snapshots": value} for value in ([], [0], [-5], ["5"], [True], [5, 5], [10, 5], [5, 61], [*range(1, 66)])),
]


@pytest.mark.parametrize("change", IMPOSSIBLE_VALUES, ids=str)
def test_an_index_with_an_impossible_value_is_refused_by_its_key(saved_ema, tiny_model_config, change):
    path = saved_ema[0] / "index.json"
    json_records.write_sealed(path, io.read_json(path) | change)
    key = "snapshots" if change == {"steps": 4} else next(iter(change))
    with pytest.raises(ArtifactError, match=rf"index\.json: {key}.* must be "):
        ema_io.load(saved_ema[0], 0.95, tiny_model_config)


def test_an_edited_index_is_refused(saved_ema, tiny_model_config):
    path = saved_ema[0] / "index.json"
    io.write_json(path, io.read_json(path) | {"steps": 61})
    with pytest.raises(ArtifactError, match=r"index\.json: does not match its digest: it was edited"):
        ema_io.load(saved_ema[0], 0.95, tiny_model_config)


def test_the_snapshots_on_disk_keep_their_bound(saved_ema):
    assert len(list(saved_ema[0].glob("basis_*"))) <= 2 * 10
