"""golf prove: a saved ledger held against a newly opened predictor"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from golf.artifacts import io
from golf.cli import main, verification
from golf.compliance import evaluation_log, evaluation_run
from golf.evaluation.fence.restrictions import FenceRecord
from golf.evaluation.ledger import KIND
from tests.helpers import tiny_project

LEDGERS, RUN = Path("artifacts/evaluate/ledgers"), Path("artifacts/evaluate/run.json")
LOG = "artifacts/evaluate/evaluation_log.jsonl"


def run(capsys, *arguments: str) -> tuple[int, str]:
    code = main.main(["prove", *arguments])
    output = capsys.readouterr()
    return code, output.out + output.err


def reseal(mode: str, change, change_bytes=lambda n_bytes: n_bytes) -> None:
    """Change a ledger's scores and seal it again, as a forger would who knows the format."""
    from golf.data import split_reader
    from golf.evaluation.ledger import Ledger

    path = LEDGERS / f"{mode}.safetensors"
    tensors, meta = io.load_tensors(path, kind=KIND)
    split = split_reader.open_split("artifacts/fetch/val")
    tokens, chunks = split.read_tokens(), tensors["chunk"].numpy()
    forged = Ledger(mode, split.bos)
    nll, n_bytes = change(tensors["nll"].numpy().copy()), change_bytes(tensors["bytes"].numpy())
    for index in range(chunks[-1] + 1):
        rows = np.flatnonzero(chunks == index)
        forged.append(tokens[rows[0] : rows[-1] + 2], nll[rows], n_bytes[rows], is_last=index == chunks[-1])
    forged.save(path, **{key: value for key, value in meta.items() if key != "mode"})


def test_a_finished_runs_headline_is_proven(project_dir, capsys):
    n_targets = io.read_json("artifacts/evaluate/metrics.json")["val_tokens"]
    code, text = run(capsys, "--places", "9")
    assert code == 0, text
    assert "\nPROVEN\n" in text
    assert f"72 of {n_targets:,} targets, in all 8 chunks" in text
    assert "that of the evaluation" in text
    assert "fence       " in text
    entry = evaluation_log.read_entries(LOG)[-1]
    assert (entry["kind"], entry["verdict"]) == ("proof", "PROVEN (72 places of 8 chunks)")
    verification.verify_evaluation()


def test_the_other_modes_ledgers_can_be_proven_too(project_dir, capsys):
    code, text = run(capsys, "--ledger", str(LEDGERS / "sliding.safetensors"), "--places", "2")
    assert code == 0, text
    assert "mode sliding" in text


def test_a_ledger_that_was_forged_and_sealed_anew_is_not_proven(project_dir, capsys):
    reseal("ttt", lambda nll: nll - np.float32(0.01))
    code, text = run(capsys)
    assert code == 1
    assert "NOT PROVEN: sealed scores are 1.0e-02 nats better than predictions on average" in text
    assert evaluation_log.read_entries(LOG)[-1]["verdict"].startswith("NOT PROVEN: ")


def test_on_an_unknown_or_another_machine_the_tolerances_are_wider_and_the_report_says_so(project_dir, capsys):
    record = io.read_json(RUN)
    io.write_json(RUN, record | {"hardware": "8 × NVIDIA H100 80GB HBM3"})
    code, text = run(capsys, "--places", "2")
    assert code == 0
    assert "tolerances are wider: hardware 8 × NVIDIA H100 80GB HBM3 there, " in text
    RUN.unlink()
    assert "the evaluation's machine is unknown" in run(capsys, "--places", "2")[1]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("artifact", "artifacts/compress/model.golf"),
        ("code", "artifacts/evaluate/code.tar.xz"),
        ("plan", "artifacts/ttt/plan.json"),
    ],
)
def test_files_of_another_evaluation_are_refused(project_dir, capsys, name, path):
    other = Path("other") / Path(path).name
    other.parent.mkdir()
    shutil.copy(path, other)
    other.write_bytes(other.read_bytes() + b" ")
    code, text = run(capsys, f"--{name}", str(other))
    assert code == 1
    assert f"give the {name} of the same evaluation (--{name})" in text


def test_a_proof_without_a_restriction_says_so_where_it_is_printed_and_logged(project_dir, capsys, monkeypatch):
    run_proof = evaluation_run.run_proof

    def run_without_landlock(*args, **kwargs):
        result, session = run_proof(*args, **kwargs)
        session.access_report["fence"] = FenceRecord(("seccomp",), ("the kernel has no Landlock",))
        return result, session

    monkeypatch.setattr(evaluation_run, "run_proof", run_without_landlock)
    code, text = run(capsys, "--places", "1")
    expected = "PROVEN, if the predictor did not read val, as a restriction is missing: the kernel has no Landlock"
    assert code == 0
    assert expected in text
    assert evaluation_log.read_entries(LOG)[-1]["verdict"].startswith(expected)


def test_a_ledger_whose_bytes_are_not_vals_is_refused(project_dir, capsys):
    reseal("ttt", lambda nll: nll, lambda n_bytes: 2 * n_bytes)
    code, text = run(capsys)
    assert code == 1
    assert "its bytes are not those of artifacts/fetch/val" in text


@pytest.mark.parametrize(("key", "value"), [("evaluate.stride", 4), ("evaluate.dtype", "bfloat16")])
def test_settings_of_another_evaluation_are_refused(project_dir, capsys, key, value):
    tiny_project.set_params(project_dir, {key: value})
    code, text = run(capsys)
    assert code == 1
    assert f"{key}: is {value}, but {LEDGERS}/ttt.safetensors was made with " in text


def test_wrong_numbers_of_places_are_refused(project_dir, capsys):
    assert run(capsys, "--places", "0") == (2, "golf prove: --places must be at least 1, got 0\n")


def test_a_proof_of_all_targets_gives_the_costs_by_byte(project_dir, capsys):
    code, text = run(capsys, "--all", "--bytes")
    assert code == 0, text
    assert "artifacts/prove/bytes_ttt.safetensors" in text
    headline = io.read_json("artifacts/evaluate/metrics.json")["val_bpb"]
    assert main.main(["results", "--bytes"]) == 0
    shown = capsys.readouterr().out
    assert f"are the {headline:.4f} bpb of mode ttt" in shown
    assert "That is no score" in shown
    reseal("ttt", lambda nll: nll - np.float32(0.01))
    assert main.main(["results", "--bytes"]) == 1
    assert "was made from another version of artifacts/evaluate/ledgers/ttt.safetensors" in capsys.readouterr().err
