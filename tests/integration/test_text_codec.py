"""golf encode and golf decode on a finished run: the text comes back, its size is the claimed one, damage is refused"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from golf.artifacts import io, lineage
from golf.cli.main import main
from golf.evaluation import ledger
from golf.evaluation.text_codec import fingerprint
from tests.helpers import tiny_project

TEXT = (
    "Chapter 7\n\n  The baker counted \x00 seven lamps\r\nby the harbour; \ufb01ne, e\u0301 \u65e5.\n\n".encode()
    + b"\xff\xfe."
)
ODD_TEXTS = {"empty": b"", "spaces": b" \n\t ", "no UTF-8": bytes(range(256)), "text": TEXT, "normalized": b"a b c."}


def encode(*arguments: str, capsys) -> dict:
    capsys.readouterr()
    assert main(["encode", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("mode", ["ttt", "sliding"])
def test_val_is_decoded_from_its_claimed_bits_in_a_process_that_never_had_it(project_dir, capsys, mode):
    assert main(["encode", "--split", "val", "--mode", mode, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    claimed_nats = ledger.read(f"artifacts/evaluate/ledgers/{mode}.safetensors")[0].nll.sum(dtype=np.float64)
    claimed_bytes = claimed_nats / np.log(2) / 8
    assert report["claimed_bits"] == 8 * claimed_bytes
    assert report["encoded_bytes"] == Path("val.txt.golfz").stat().st_size <= 1.001 * claimed_bytes + 64
    assert report["code_bits"] == pytest.approx(8 * claimed_bytes, rel=1e-4)

    elsewhere = project_dir.parent / "elsewhere"
    names = ("golf", "params.yaml", "val.txt.golfz", *(f"artifacts/{path}" for path in ("compress", "ttt/plan.json")))
    for name in (*names, "artifacts/fetch/tokenizer.model", "artifacts/fetch/manifest.json"):
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (project_dir / name).rename(elsewhere / name)
    tiny_project.run_command(elsewhere, sys.executable, "-m", "golf", "decode", "val.txt.golfz")
    lines = (elsewhere / "val.txt").read_text(encoding="utf-8").splitlines()
    text_hashes = [row["text_sha256"] for row in io.read_json("artifacts/fetch/val/index.json")["documents"]]
    assert [hashlib.sha256(line.encode()).hexdigest() for line in lines] == text_hashes


def test_any_bytes_come_back_and_predict_gives_the_same_size(project_dir, capsys):
    for name, text in ODD_TEXTS.items():
        Path("text").write_bytes(text)
        report = encode("text", capsys=capsys)
        assert main(["decode", "text.golfz", "--out", "decoded"]) == 0, name
        assert Path("decoded").read_bytes() == text
        uncached = encode("text", "--predict", "--out", "uncached.golfz", capsys=capsys)
        assert abs(uncached["encoded_bytes"] - report["encoded_bytes"]) <= 1
        assert main(["decode", "uncached.golfz", "--out", "decoded", "--force"]) == 0
        assert Path("decoded").read_bytes() == text
        for path in ("text.golfz", "decoded", "uncached.golfz"):
            Path(path).unlink()


@pytest.fixture
def encoded_dir(project_dir, capsys) -> Path:
    """A project with an encoded text, text.golfz."""
    Path("text").write_bytes(TEXT)
    encode("text", capsys=capsys)
    return project_dir


def fail(capsys, *arguments: str) -> str:
    """The one message with which a command fails, leaving no file."""
    before = tiny_project.list_files(Path())
    assert main([*arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert tiny_project.list_files(Path()) == before
    return captured.err.splitlines()[-1]


def test_a_decoder_that_differs_is_refused_by_name(encoded_dir, capsys, monkeypatch):
    decode = ("decode", "text.golfz", "--out", "out")
    tiny_project.set_params(encoded_dir, {"evaluate.stride": 8})
    assert main(list(decode)) == 0, "the stride of the sliding mode, which this text does not use"
    Path("out").unlink()
    capsys.readouterr()

    plan = io.read_json("artifacts/ttt/plan.json")
    ttt = plan["ttt"] | {"lr": 0.02}
    origin = lineage.with_digest(plan["lineage"] | {"parameters": lineage.hash_parameters(ttt, plan["memory"])})
    io.write_json("plan.json", plan | {"ttt": ttt, "lineage": origin})
    assert "text.golfz: was encoded with another plan; " in fail(capsys, *decode, "--plan", "plan.json")
    for name, value, words in (
        ("hash_cpu", b"none", "another CPU than this "),
        ("hash_libraries", b"none", "another version of numpy, "),
        ("get_torch_version", (1, 2, 3), "another torch: "),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(fingerprint, name, lambda value=value: value)
            assert f"text.golfz: was encoded with {words}" in fail(capsys, *decode)

    data = bytearray(Path("artifacts/compress/model.golf").read_bytes())
    Path("artifacts/compress/model.golf").write_bytes(data[:-1])
    assert "model.golf: " in fail(capsys, *decode)


def test_differing_arithmetic_is_refused_and_never_decoded_into_other_text(encoded_dir, capsys, monkeypatch):
    from golf.evaluation.text_codec import kv_cache

    step = kv_cache.KVCacheModel.step
    monkeypatch.setattr(kv_cache.KVCacheModel, "step", lambda model, token: step(model, token) * 1.01)
    message = fail(capsys, "decode", "text.golfz", "--out", "out")
    assert "the arithmetic on this machine differs" in message


def test_damage_and_files_in_the_way_are_one_message_each(encoded_dir, capsys):
    data = Path("text.golfz").read_bytes()
    Path("cut.golfz").write_bytes(data[:-1])
    Path("other.golfz").write_bytes(b"text")
    assert "cut.golfz: damaged or cut short" in fail(capsys, "decode", "cut.golfz")
    assert "other.golfz: not a text that golf encode wrote" in fail(capsys, "decode", "other.golfz")
    assert "text: does not end in .golfz" in fail(capsys, "decode", "text")
    assert "text: exists; " in fail(capsys, "decode", "text.golfz")
    assert "text.golfz: exists; " in fail(capsys, "encode", "text")
    assert "artifacts: is a folder; " in fail(capsys, "decode", "text.golfz", "--out", "artifacts")
    assert "nothing: not found; " in fail(capsys, "encode", "nothing")
    assert "text: not a SentencePiece model" in fail(capsys, "encode", "text", "--tokenizer", "text", "--out", "new")
    assert main(["encode"]) == main(["encode", "text", "--split", "val"]) == 2


def test_the_threads_are_those_of_the_encoder(encoded_dir):
    before = torch.get_num_threads()
    data = Path("text.golfz").read_bytes()
    assert main(["decode", "text.golfz", "--out", "out"]) == 0
    assert (torch.get_num_threads(), data[9]) == (before, before)
