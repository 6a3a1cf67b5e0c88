import pytest
import torch

from golf.ground import store
from golf.ground.errors import BadArtifact, ParamsError
from golf.model.gpt import GPT
from golf.train import averages_file
from golf.train.ema import Averages


@pytest.fixture
def saved(tmp_path, tiny_shape):
    model = GPT(tiny_shape).initialise(torch.Generator().manual_seed(0))
    averages = Averages(dict(model.named_parameters()), [0.95, 0.93], (0.9, 0.98), 10, 5)
    for step in range(60):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step)))
        averages.update()
    averages.snapshot()
    averages_file.save(tmp_path / "ema", averages, tiny_shape, lineage={"splits_seen": ["train"]})
    return tmp_path / "ema", averages


def test_a_tracked_decay_comes_back_bit_for_bit(saved, tiny_shape):
    folder, averages = saved
    weights, how, _ = averages_file.load(folder, 0.95, tiny_shape)

    assert how["how"] == "tracked"
    assert all(torch.equal(weights[name], tensor) for name, tensor in averages.copy(0.95).items())


def test_another_decay_is_combined_and_says_with_what_error(saved, tiny_shape):
    folder, averages = saved
    (folder / "decay_0.93.safetensors").unlink()
    store.write_json(folder / "index.json", store.read_json(folder / "index.json") | {"decays": [0.95]})

    weights, how, _ = averages_file.load(folder, 0.93, tiny_shape)

    assert how["how"] == "combined"
    assert 0 < how["profile_error"] <= 0.01
    for name, tensor in averages.copy(0.93).items():
        torch.testing.assert_close(weights[name], tensor, atol=2e-3, rtol=0)


def test_a_decay_that_is_not_covered_is_refused(saved, tiny_shape):
    with pytest.raises(ParamsError, match=r"ema\.decay: 0\.2 is not covered"):
        averages_file.load(saved[0], 0.2, tiny_shape)


def test_an_index_without_its_keys_is_refused_by_name(saved, tiny_shape):
    store.write_json(saved[0] / "index.json", {"steps": 60})
    with pytest.raises(BadArtifact, match=r"index\.json: expected steps, decays"):
        averages_file.load(saved[0], 0.95, tiny_shape)


def test_the_snapshots_on_disk_keep_their_bound(saved):
    assert len(list(saved[0].glob("trace_*"))) <= 2 * 10
