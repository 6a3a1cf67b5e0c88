"""golf/cli/inspect.py: every kind of artifact, as the library's own writers make it"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from golf.artifacts import io, lineage
from golf.cli import inspect, main
from golf.compliance import evaluation_log
from golf.compliance.check_result import CheckResult
from golf.compression import reader, writer
from golf.compression.quantized_tensor import QuantizedTensor
from golf.data import split_writer
from golf.data.tokenization import trainer
from golf.errors import ArtifactError, InputError
from golf.evaluation.ledger import Ledger
from golf.model import checkpoint
from golf.model.gpt import GPT
from golf.quantization import codes_io, sensitivity
from tests.helpers import trellis_paths
from tests.helpers.verdicts import make_passing_verdict

VOCABULARY, BOS = 300, 1


def write_split(folder: Path) -> Path:
    tokens = [np.array([BOS, 7, 8, 9], np.uint16), np.array([BOS, 299], np.uint16)]
    digest = hashlib.sha256(b"text").hexdigest()
    documents = [split_writer.EncodedDocument(digest, digest, digest, 5 * len(each), each) for each in tokens]
    split_writer.write_split(
        folder, folder.name, documents, vocab_size=VOCABULARY, bos=BOS, tokenizer_sha256="0" * 64, shard_tokens=4
    )
    return folder


def write_weights(path: Path, model_cfg, split: Path) -> Path:
    state = GPT(model_cfg).init_weights(torch.Generator().manual_seed(1)).state_dict()
    origin = lineage.make_lineage("train", {"train": split}, seed=314, world_size=2)
    checkpoint.save(path, state, model_cfg, lineage=origin, steps=12)
    return path


def write_ledger(path: Path) -> Path:
    ledger = Ledger("sliding", BOS)
    ledger.append(np.array([BOS, 7, 8]), np.array([1.0, 2.0]), np.array([2, 3]), is_last=False)
    ledger.append(np.array([8, BOS, 9]), np.array([3.0, 1.0]), np.array([0, 5]), is_last=True)
    ledger.save(path, stream="val")
    return path


def write_codes(path: Path, model_cfg, n_small: int) -> Path:
    """A tensor on the column grid in int16, one on the row grid in int8, and small ones."""
    wide = torch.tensor([[-300, 0], [300, 1]], dtype=torch.int16)
    narrow = torch.tensor([[1, 1, -1, -7]], dtype=torch.int8)
    pairs = {
        "blocks.0.mlp.fc.weight": QuantizedTensor(
            wide, torch.tensor([0.25, 0.5]).half(), torch.tensor([0.5, 2.0]).half()
        ),
        "tok_emb.weight": QuantizedTensor(narrow, torch.tensor([0.125]).half()),
    }
    codes_io.save(
        path, codes_io.to_storage(pairs, {f"scale{number}": torch.ones(2) for number in range(n_small)}), model_cfg
    )
    return path


def write_golf(path: Path, model_cfg) -> Path:
    tensors = {f"blocks.{n}.codes": torch.full((4, 4), n, dtype=torch.int8) for n in range(3)}
    tensors["skip_gates"] = torch.ones(2, 2, dtype=torch.float16)
    io.write_bytes(path, writer.pack(tensors, model_cfg, upstream_splits=("train",), codec="brotli", brotli_quality=5))
    return path


@pytest.fixture(autouse=True)
def work_dir(tmp_path, monkeypatch) -> Path:
    """The current folder, which files are named from: lines wrap alike wherever temporary folders lie."""
    monkeypatch.chdir(tmp_path)
    return Path()


@pytest.fixture
def artifacts(work_dir, tiny_model_config) -> dict[str, Path]:
    split = write_split(work_dir / "train")
    io.write_json(work_dir / "sizes.json", {"payload_bytes": 1000, "code_bytes": 200})
    io.write_csv(work_dir / "log.csv", [{"step": step, "loss": 1 / step} for step in range(1, 200)])
    return {
        "split": split,
        "shard": split / "train_000000.bin",
        "index": split / "index.json",
        "json": work_dir / "sizes.json",
        "table": work_dir / "log.csv",
        "weights": write_weights(work_dir / "model.safetensors", tiny_model_config, split),
        "ledger": write_ledger(work_dir / "ledger.safetensors"),
        "golf": write_golf(work_dir / "model.golf", tiny_model_config),
    }


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "split",
            ["split 'train'", "2 documents, 6 tokens, 30 bytes", "5.000 bytes per token", "shard 0: 4", "shard 1: 2"],
        ),
        ("shard", ["token shard", "4 tokens, ids 1 to 9", "first: 1, 7, 8, 9"]),
        ("index", ['"split": "train"', '"documents": "2 entries"', '"vocab_size": 300']),
        ("json", ['"payload_bytes": 1000', '"code_bytes": 200']),
        ("table", ["table of 199 rows", "step", "loss", "0.5", "…", "199"]),
        (
            "weights",
            [
                "weights, ",
                "checksum matches",
                "made by stage train from train ",
                "seed 314, 2 ranks",
                "upstream splits: train",
                '"steps": 12',
                "n_layers 4, d_model 32, n_heads 4, vocab_size 260",
                "attn.c_v.weight",
                "16×32",
                "float32",
            ],
        ),
        ("ledger", ["ledger, ", "mode sliding", "4 targets, 10 bytes, 2 documents", "2 chunks, hash chain intact"]),
        (
            "golf",
            [
                "submission, ",
                "all checksums match",
                "n_layers 4",
                "codec brotli: 4 tensors, ",
                "upstream splits: train",
                "4×4",
            ],
        ),
    ],
)
def test_every_artifact_is_explained_in_a_screenful(artifacts, name, parts):
    text = inspect.describe(artifacts[name])
    assert str(artifacts[name]) in text.splitlines()[0]
    for part in parts:
        assert part in " ".join(text.split())  # long lines wrap
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= max(120, len(str(artifacts[name])) + 40)


def test_a_sidecar_is_distinguished_from_a_token_shard(work_dir):
    digest = hashlib.sha256(b"text").hexdigest()
    tokens, sizes = np.array([BOS, 7, 8], np.uint16), np.array([0, 2, 6], np.uint16)
    documents = [split_writer.EncodedDocument(digest, digest, digest, 8, tokens, sizes)]
    how = {"vocab_size": VOCABULARY, "bos": BOS, "tokenizer_sha256": "0" * 64, "shard_tokens": 4}
    split_writer.write_split(work_dir / "val", "val", documents, **how)
    assert "a sidecar holds the bytes of text of each token" in inspect.describe(work_dir / "val")
    shown = inspect.describe(work_dir / "val" / "val_bytes_000000.bin")
    assert "byte sidecar" in shown
    assert "3 tokens, bytes per token 0 to 6" in shown
    assert "token shard" in inspect.describe(work_dir / "val" / "val_000000.bin")


def test_every_codec_of_a_submission_is_named_with_its_tensors_and_bytes(work_dir, tiny_model_config):
    """Trellis codes too many for brotli to be tried, scalar codes that ANS packs, and floating-point numbers."""
    codes = torch.from_numpy(trellis_paths.draw_path(np.random.default_rng(0), 8, (320, 128), 3, "int8"))
    tensors = {f"blocks.{n}.codes": codes for n in range(2)}
    tensors |= {"gate": torch.ones(2, 2, dtype=torch.float16), "norm": torch.ones(3, dtype=torch.float16)}
    how = {"upstream_splits": ("train",), "codec": "ans", "brotli_quality": 5}
    for states, name in ((8, "trellis (ans along a trellis)"), (None, "ans")):
        io.write_bytes(work_dir / "model.golf", writer.pack(tensors, tiny_model_config, trellis_states=states, **how))
        n_bytes = {section.codec: section.packed_bytes for section in reader.read_packed("model.golf")[0].sections}
        codec = name.partition(" ")[0]
        expected = (
            f"codec {name}: 2 tensors, {n_bytes[codec]:,} bytes; codec brotli: 2 tensors, {n_bytes['brotli']} bytes"
        )
        assert expected in " ".join(inspect.describe(work_dir / "model.golf").split())
        assert n_bytes[codec] > n_bytes["brotli"]


def test_codes_are_shown_on_one_line_per_tensor_together_with_their_scales(work_dir, tiny_model_config):
    text = inspect.describe(write_codes(work_dir / "codes.safetensors", tiny_model_config, n_small=1))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    columns = "row scales 0.25–0.5, column scales 0.5–2"
    assert f"blocks.0.mlp.fc.weight 2×2 int16 2.00 bits, |code| to 300, {columns}" in lines
    assert "tok_emb.weight 1×4 int8 1.50 bits, |code| to 7, row scales 0.12–0.12" in lines
    assert sum(line.startswith(("blocks", "tok_emb", "scale0")) for line in lines) == 3
    assert "6 tensors, 15 values" in lines


def test_codes_without_their_scales_are_shown_as_plain_tensors(work_dir):
    tensors = {"a.codes": torch.ones(2, 2, dtype=torch.int8), "b.codes": torch.zeros(0, 2, dtype=torch.int8)}
    io.save_tensors(work_dir / "c.safetensors", tensors | {"b.row_scales": torch.ones(0)}, kind="codes", meta={})
    text = inspect.describe(work_dir / "c.safetensors")
    assert all(f"  {name} " in text for name in ("a.codes", "b.codes", "b.row_scales"))


def test_a_submission_of_many_tensors_shows_its_codes_before_small_tensors(work_dir, tiny_model_config):
    stored, _, _ = codes_io.load(write_codes(work_dir / "codes.safetensors", tiny_model_config, n_small=60))
    packed = writer.pack(stored, tiny_model_config, upstream_splits=("train",), codec="ans", brotli_quality=5)
    io.write_bytes(work_dir / "model.golf", packed)
    lines = inspect.describe(work_dir / "model.golf").splitlines()
    shown = [line.split()[0] for line in lines if "bits, |code|" in line]
    assert sorted(shown) == ["blocks.0.mlp.fc.weight", "tok_emb.weight"]
    assert len(lines) == 40


def test_sensitivities_are_shown_on_one_line_per_tensor_with_rows_mean_and_spread(work_dir):
    tensors = {"blocks.0.mlp.fc.weight": torch.arange(101.0) / 100, "tok_emb.weight": torch.full((7,), 2.5)}
    sensitivity.save(work_dir / "s.safetensors", tensors)
    lines = [" ".join(line.split()) for line in inspect.describe(work_dir / "s.safetensors").splitlines()]
    assert "blocks.0.mlp.fc.weight 101 rows mean 0.5 10 % to 90 % quantile 0.1 to 0.9" in lines
    assert "tok_emb.weight 7 rows mean 2.5 10 % to 90 % quantile 2.5 to 2.5" in lines


def test_a_sensitivity_that_is_not_a_vector_is_shown_as_a_plain_tensor(work_dir):
    sensitivity.save(work_dir / "s.safetensors", {"a": torch.ones(2, 3), "b": torch.ones(0)})
    text = inspect.describe(work_dir / "s.safetensors")
    assert "2×3 float32" in text
    assert "  b " in text


def test_a_ledger_is_explained_by_its_own_bits_per_byte(artifacts):
    assert f"{7 / np.log(2) / 10:.6f}" in inspect.describe(artifacts["ledger"])
    assert "1.750000 nats per token" in inspect.describe(artifacts["ledger"])


def test_a_tokenizer_is_explained(work_dir, tiny_corpus):
    (work_dir / "tokenizer.model").write_bytes(trainer.train_tokenizer(tiny_corpus, VOCABULARY))
    assert f"{VOCABULARY} pieces, BOS {BOS}" in inspect.describe(work_dir / "tokenizer.model")


def test_a_file_of_many_tensors_says_how_many_lines_were_left_out(work_dir):
    io.save_tensors(work_dir / "a.safetensors", {f"t{n}": torch.ones(1) for n in range(200)}, kind="x", meta={})
    lines = inspect.describe(work_dir / "a.safetensors").splitlines()
    assert len(lines) == 40
    assert lines[-1] == "  … 164 more lines"
    assert "200 tensors, 200 values" in "".join(lines)
    assert "unknown origin" in lines[1]


def test_a_folder_of_files_is_listed_with_sizes(artifacts, work_dir):
    text = inspect.describe(work_dir)
    for path in artifacts.values():
        if path.parent == work_dir:
            assert path.name in text
    assert "  train/" in text
    assert len(text.splitlines()) <= 40


@pytest.mark.parametrize("name", ["split", "shard", "json", "table", "weights", "ledger", "golf"])
def test_a_damaged_file_is_named(artifacts, name):
    path = artifacts["shard"] if name == "split" else artifacts[name]
    damaged = bytearray(path.read_bytes())
    damaged[0 if name in ("shard", "table") else len(damaged) // 2] ^= 0x80
    path.write_bytes(damaged)
    with pytest.raises(ArtifactError) as caught:
        inspect.describe(artifacts[name])
    assert str(path) in str(caught.value)


def test_a_verdict_is_shown_as_its_screen_and_one_of_another_form_is_refused(work_dir):
    failed = CheckResult("C2-a", "FAIL", "0.5", "0.1", "they don't add up")
    tree = make_passing_verdict(failed).to_dict()
    io.write_json(work_dir / "verdict.json", tree)
    text = inspect.describe(work_dir / "verdict.json")
    assert f"\nown:Predictor on 0123456789ab, track A: fixed predictor\n{tree['verdict']}\n" in text
    assert "FAIL    C2-a" in text
    assert len(text.splitlines()) <= 40
    assert '"check"' not in text
    io.write_json(work_dir / "verdict.json", tree | {"checks": 3})
    with pytest.raises(ArtifactError, match=r"verdict\.json: is not a verdict"):
        inspect.describe(work_dir / "verdict.json")


def test_the_evaluation_log_is_a_table_and_a_broken_chain_names_its_line(work_dir):
    path = work_dir / "evaluation_log.jsonl"
    entry = {"artifact": "a" * 64, "predictor": "own:Method", "plan": None, "val": "b" * 64, "headline": "ttt"}
    entry["kind"] = "evaluation"
    for number in range(30):
        bpb = 1 + number / 100 if number % 2 else None
        ended = {"val_bpb": bpb, "verdict": bpb and "invalid: C2-a (C2-a: off)", "commit": None, "verdict_sha256": None}
        evaluation_log.append_entry(path, entry | ended)
    lines = inspect.describe(path).splitlines()
    assert lines[0].endswith("15 evaluations started, 15 finished")
    assert "the hash chain is intact" in lines[1]
    assert lines[-1].split()[1:] == ["ttt", "1.2900", "aaaaaaaa", "own:Method", "invalid"]
    assert lines[-2].split()[2] == "started"
    assert len(lines) <= 40
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:7] + kept[8:]))
    with pytest.raises(ArtifactError, match="line 8 does not follow the one before"):
        inspect.describe(path)


def test_an_empty_table_is_damaged(work_dir):
    (work_dir / "log.csv").touch()
    with pytest.raises(ArtifactError, match=r"log\.csv: empty, expected a CSV table"):
        inspect.describe(work_dir / "log.csv")


def test_a_missing_path_is_named_with_a_hint(work_dir):
    with pytest.raises(ArtifactError, match=r"nowhere\.golf: not found$"):
        inspect.describe(work_dir / "nowhere.golf")


def test_a_file_of_no_known_kind_is_refused_with_the_kinds_that_are(work_dir):
    (work_dir / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"notes\.txt: not an artifact; .*\.bin.*\.golf.*\.safetensors"):
        inspect.describe(work_dir / "notes.txt")


def test_the_command_prints_the_explanation_or_one_line_of_error(artifacts, work_dir, capsys):
    assert main.main(["inspect", str(artifacts["golf"])]) == 0
    assert "submission" in capsys.readouterr().out
    assert main.main(["inspect", str(work_dir / "nowhere.golf")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("golf inspect: ")
    assert len(captured.err.splitlines()) == 1
