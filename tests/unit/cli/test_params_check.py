"""golf/cli/params_check.py: golf validate checks the files, the class and the devices that valid settings name"""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
import torch

from golf.cli.main import main
from golf.data.tokenization import trainer
from tests.helpers.tiny_corpus import ROOT

VOCABULARY = 300
LAPTOP = (ROOT / "profiles/laptop.yaml").read_text(encoding="utf-8")
TRAINED = "  tokenizer: train "
PREDICTOR = "predictor: golf.inference.predictor:GolfPredictor "


@pytest.fixture(autouse=True)
def work_dir(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path


def write_params(*changes: tuple[str, str], path="params.yaml", section="") -> None:
    """The laptop profile with the first match of each text after ``section`` replaced."""
    before, heading, text = LAPTOP.partition(f"\n{section}:\n" if section else "\n")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    Path(path).write_text(before + heading + text, encoding="utf-8")


def read_problem(capsys, *arguments: str) -> str:
    """The one message of golf validate, which must fail."""
    capsys.readouterr()
    assert main(["validate", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    return captured.err.removeprefix("golf validate: ")


def test_every_profile_is_valid_on_a_machine_without_a_gpu(capsys):
    for profile in sorted((ROOT / "profiles").glob("*.yaml")):
        assert main(["validate", str(profile)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("stage", ["train", "ema", "ttt", "calibrate", "evaluate"])
def test_a_stage_on_a_gpu_is_refused_where_there_is_none(capsys, monkeypatch, stage):
    write_params(("device: auto", "device: cuda"), section=stage)
    assert read_problem(capsys).startswith(f"{stage}.device: cuda was requested, but torch sees no GPU; ")
    Path("params.yaml").rename("other.yaml")
    assert main(["validate", "other.yaml"]) == 0, "it may be for another machine"
    Path("other.yaml").rename("params.yaml")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert main(["validate"]) == 0


@pytest.mark.parametrize(
    ("predictor", "file"),
    [
        ("golf.inference.predictr:GolfPredictor", "golf/inference/predictr.py"),
        ("golf.inference.predictor:GolfPredictorr", "golf/inference/predictor.py"),
        ("own:Nobody", "own.py"),
        ("own", "own.py"),
    ],
)
def test_a_predictor_that_is_not_there_is_named(capsys, predictor, file):
    Path("own.py").write_text("class Own:\n    pass\n")
    write_params((PREDICTOR, f"predictor: {predictor} "))
    expected = f"evaluate.predictor: {predictor}: no class of that name in {file} below this folder; give package."
    assert read_problem(capsys).startswith(expected)
    write_params((PREDICTOR, "predictor: own:Own "))
    assert main(["validate"]) == 0


def test_a_tokenizer_of_another_vocabulary_is_refused_with_both_sizes(capsys, tiny_corpus):
    Path("own.model").write_bytes(trainer.train_tokenizer(tiny_corpus, VOCABULARY))
    write_params((TRAINED, "  tokenizer: own.model "))
    size = LAPTOP.partition("vocab_size: ")[2].split()[0]
    expected = (
        f"own.model: has {VOCABULARY} pieces, model.vocab_size is {size}; set model.vocab_size: {VOCABULARY}, or "
    )
    assert read_problem(capsys).startswith(expected)
    write_params((TRAINED, "  tokenizer: own.model "), (f"vocab_size: {size}", f"vocab_size: {VOCABULARY}"))
    assert main(["validate"]) == 0


def test_a_tokenizer_is_refused_where_fetch_refuses_it(capsys, tiny_corpus):
    size = LAPTOP.partition("vocab_size: ")[2].split()[0]
    own = (TRAINED, "  tokenizer: own.model "), (f"vocab_size: {size}", f"vocab_size: {VOCABULARY}")
    Path("own.model").write_bytes(trainer.train_tokenizer(tiny_corpus, VOCABULARY))
    write_params(*own, ("transform: none ", "transform: caseops "))
    assert read_problem(capsys).startswith("own.model: has no piece for U+E001, U+E002")
    folding = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in tiny_corpus for line in text.split("\n") if line),
        model_writer=folding,
        vocab_size=VOCABULARY,
        model_type="bpe",
        normalization_rule_name="nmt_nfkc_cf",
        byte_fallback=True,
        minloglevel=2,
    )
    Path("own.model").write_bytes(folding.getvalue())
    write_params(*own)
    assert read_problem(capsys).startswith("own.model: its normalizer changes 'A' to 'a'")


def test_a_file_that_is_no_tokenizer_is_refused_except_for_an_export_which_has_its_own(capsys):
    Path("own.model").write_bytes(b"text")
    write_params((TRAINED, "  tokenizer: own.model "))
    assert read_problem(capsys).startswith("own.model: not a SentencePiece model; ")
    write_params(("source: docs ", "source: hub "), (TRAINED, "  tokenizer: nowhere.model "))
    assert main(["validate"]) == 0


def test_the_checks_import_neither_torch_nor_the_predictor():
    write_params((PREDICTOR, "predictor: own:Own "))
    Path("own.py").write_text("raise RuntimeError\nclass Own:\n    pass\n")
    code = "import sys; from golf.cli.main import main; print(main(['validate']), {'torch', 'own'} & {*sys.modules})"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.stdout == "params.yaml: OK (profile laptop)\n0 set()\n", done.stderr
