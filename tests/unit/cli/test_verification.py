"""golf/cli/verification.py: an edit of any file of an evaluation shows before a command prints it"""

from pathlib import Path

import pytest

from golf.artifacts import io
from golf.cli import main, verification
from golf.compliance.check_result import CheckResult
from golf.compliance.evaluation_log import append_entry, read_entries
from golf.errors import ArtifactError
from golf.evaluation import ledger
from tests.helpers.verdicts import write_evaluation

FOLDER = Path("artifacts/evaluate")
VERDICT, METRICS, LOG = FOLDER / "verdict.json", FOLDER / "metrics.json", FOLDER / "evaluation_log.jsonl"
ENTRY_KEYS = (
    "kind",
    "artifact",
    "predictor",
    "plan",
    "val",
    "headline",
    "val_bpb",
    "verdict",
    "commit",
    "verdict_sha256",
)
COMMANDS = (["verdict"], ["results"], ["inspect", str(VERDICT)])


@pytest.fixture(autouse=True)
def evaluation(tmp_path, monkeypatch):
    """A finished evaluation in the current folder, with a failed check."""
    monkeypatch.chdir(tmp_path)
    write_evaluation(tmp_path, CheckResult("M-a", "FAIL", note="wrong bytes"))


def test_an_untouched_evaluation_is_printed_also_after_a_later_one_that_did_not_finish(capsys):
    append_entry(LOG, read_plain_entries()[0])
    assert [main.main(command) for command in COMMANDS] == [0, 0, 0]
    assert "invalid: M-a" in capsys.readouterr().out


def read_plain_entries() -> list[dict]:
    """The entries as they were given to the log, without its own keys."""
    return [{key: entry[key] for key in ENTRY_KEYS} for entry in read_entries(LOG)]


def edit_json(path: Path, **changes) -> None:
    io.write_json(path, io.read_json(path) | changes)


def edit_row() -> None:
    rows = [row | {"status": "PASS"} for row in io.read_json(VERDICT)["checks"]]
    edit_json(VERDICT, checks=rows)


def reseal_ledger() -> None:
    """The headline's ledger with better scores and hashes that match."""
    better = ledger.Ledger("ttt", 1)
    rows, _ = ledger.read(FOLDER / "ledgers/ttt.safetensors")
    better.append([1, 1, *range(2, 17)], rows.nll / 2, rows.bytes, is_last=True)
    better.save(FOLDER / "ledgers/ttt.safetensors")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda: edit_json(VERDICT, verdict="record-eligible"), f"{VERDICT}: no line of evaluation_log.jsonl has its"),
        (edit_row, f"{VERDICT}: no line of evaluation_log.jsonl has its sha256"),
        (lambda: edit_json(METRICS, val_bpb=0.5), f"{METRICS}: is not the file that verdict.json names: it was edited"),
        (reseal_ledger, f"{FOLDER}/ledgers/ttt.safetensors: is not the file that verdict.json names"),
        (lambda: (FOLDER / "code.tar.xz").write_bytes(b"less"), f"{FOLDER}/code.tar.xz: is not the file that"),
        (lambda: (FOLDER / "ledgers/plain.safetensors").unlink(), f"{FOLDER}/ledgers/plain.safetensors: not found"),
        (lambda: LOG.unlink(), f"{LOG}: not found; restore it with: git checkout"),
        (lambda: LOG.write_bytes(LOG.read_bytes().replace(b"M-a", b"M-b")), f"{LOG}: line 2 does not match its own"),
        (lambda: LOG.write_bytes(LOG.read_bytes().splitlines(True)[0]), f"{VERDICT}: no line of evaluation_log.jsonl"),
    ],
)
def test_an_edit_is_one_message_that_names_the_file_and_the_cure(capsys, damage, words):
    damage()
    for command in COMMANDS if LOG.exists() else COMMANDS[:2]:
        assert main.main(command) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"golf {command[0]}: {words}")
        assert len(captured.err.splitlines()) == 1
        assert "checkout" in captured.err or "Git" in captured.err


@pytest.mark.parametrize(
    ("metrics", "verdict", "words"),
    [
        ({"val_bpb": 0.5}, {}, r"metrics\.json: val_bpb is 0\.5, computed again 0\."),
        ({"val_bpb_plain": 0.5}, {}, r"metrics\.json: val_bpb_plain is 0\.5, computed again 0\."),
        ({"val_bytes": 49}, {}, r"metrics\.json: val_bytes is 49, computed again 48"),
        ({"artifact_bytes": 10}, {}, r"metrics\.json: artifact_bytes is 10, computed again 13"),
        ({"code_bytes": 3, "artifact_bytes": 10}, {}, r"metrics\.json: code_bytes is 3, computed again 6"),
        ({"headline": "best"}, {}, r"metrics\.json: headline: 'best' has no ledger"),
        ({"verdict": "record-eligible"}, {}, r"metrics\.json: verdict is 'record-eligible', computed again 'invalid"),
        (
            {"verdict": "valid"},
            {"verdict": "valid"},
            r"verdict\.json: verdict is 'valid', its rows and files give",
        ),
        ({}, {"predictor": "other:Class"}, r"verdict\.json: predictor is 'other:Class', its rows and files give 'own"),
    ],
)
def test_what_can_be_computed_again_is_though_every_hash_was_made_to_match(metrics, verdict, words):
    edit_json(METRICS, **metrics)
    files = io.read_json(VERDICT)["files"] | {"metrics.json": io.sha256_file(METRICS)}
    edit_json(VERDICT, files=files, **verdict)
    started, ended = read_plain_entries()
    LOG.unlink()
    for entry in (started, ended | {"verdict_sha256": io.sha256_file(VERDICT)}):
        append_entry(LOG, entry)
    with pytest.raises(ArtifactError, match=words):
        verification.verify_evaluation()
