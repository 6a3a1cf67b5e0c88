"""golf export: weights, configuration and tokenizer in a new folder, whole or not at all"""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import golf
from golf.artifacts import io
from golf.cli.main import main
from golf.cli.model import export
from golf.config.model import ModelConfig
from golf.model.gpt import GPT
from tests.helpers.file_tree import write_files
from tests.helpers.tiny_artifact import VOCAB_SIZE, write_tiny_artifact


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_tiny_artifact(tmp_path)


def test_the_exported_files_make_the_same_model(paths, tmp_path, capsys):
    assert main(["export", "--format", "safetensors", "exported"]) == 0
    assert capsys.readouterr().out.startswith("exported: ")
    weights, config = load_file("exported/model.safetensors"), io.read_json("exported/config.json")
    model = golf.load(paths.artifact)
    assert ModelConfig(**config["model"]) == model.config
    rebuilt = GPT(ModelConfig(**config["model"]))
    rebuilt.load_state_dict(weights)
    tokens = model.encode("The old clerk painted seven lamps")
    with torch.no_grad():
        logits = rebuilt.logits(rebuilt(torch.from_numpy(tokens.astype(np.int64))[None], recurrent=True))
    np.testing.assert_array_equal(logits[0].log_softmax(-1).numpy(), model.logprobs(tokens))
    assert {name: list(tensor.shape) for name, tensor in weights.items()} == config["tensors"]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_the_configuration_says_what_a_reader_needs(paths, capsys):
    assert main(["export", "exported", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    config = io.read_json("exported/config.json")
    assert list(config) == [
        "format", "version", "artifact_sha256", "upstream_splits", "model", "layer_order", "tokenizer", "tensors",
    ]  # fmt: skip
    assert config["artifact_sha256"] == io.sha256_file(paths.artifact)
    assert config["upstream_splits"] == ["train"]
    assert config["layer_order"] == {"encoder": [0, 1, 2], "decoder": [1, 2, 3]}
    assert config["tokenizer"]["sha256"] == io.sha256_file("exported/tokenizer.model")
    assert config["model"] == dataclasses.asdict(golf.load(paths.artifact).config)
    assert report["parameters"] == sum(int(np.prod(shape)) for shape in config["tensors"].values())
    assert report["bytes"].keys() == {"model.safetensors", "config.json", "tokenizer.model"}
    assert config["model"]["vocab_size"] == VOCAB_SIZE


def test_an_empty_folder_is_used_and_another_is_left_alone(paths, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["export", "empty"]) == 0
    capsys.readouterr()
    write_files(tmp_path, {"full/notes.txt": "mine", "file": ""})
    for name in ("full", "file"):
        assert main(["export", name]) == 1
        assert capsys.readouterr().err == f"golf export: {name}: exists; give a new or empty folder\n"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_a_write_that_fails_leaves_nothing(paths, tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device", "config.json")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(export.io, "write_json", refuse)
    assert main(["export", "exported"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_another_format_is_a_wrong_argument(paths, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", "--format", "onnx", "exported"])
    assert stopped.value.code == 2
