"""A bundle of the tiny run: its script, run alone, gives what the stages gave; the review finds no fault."""

import dataclasses

import pytest

from golf.artifacts import io
from golf.cli import main as cli
from golf.config import loader
from golf.submission import report
from golf.submission.bundle import packing
from tests.helpers.bundle_runs import list_different_columns, run_script

MODES = ("plain", "sliding", "ttt")


@pytest.mark.slow
def test_the_script_gives_the_stages_tensors_codes_and_scores_bit_for_bit(project_dir, tmp_path):
    out = tmp_path / "submission"
    assert cli.main(["bundle", "--out", str(out)]) == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / packing.SCRIPT_NAME).write_bytes((out / packing.SCRIPT_NAME).read_bytes())

    completed = run_script(empty, project_dir / "artifacts/fetch", "--modes", *MODES)

    assert completed.returncode == 0, completed.stderr
    assert (empty / "model.golf").read_bytes() == (project_dir / "artifacts/compress/model.golf").read_bytes()
    for mode in MODES:
        ledger_path = project_dir / f"artifacts/evaluate/ledgers/{mode}.safetensors"
        assert list_different_columns(empty / f"ledger_{mode}.npz", ledger_path) == [], mode
    log = (empty / "train_seed314.log").read_text()
    sizes = io.read_json(project_dir / "artifacts/compress/sizes.json")
    assert f"Code size: {sizes['bundle_code_bytes']} bytes" in log
    shipped_log = (out / "train_seed314.log").read_text()
    timed = ("time:", "Hessians in")  # lines that differ from run to run
    assert [line for line in log.splitlines() if not any(word in line for word in timed)] == [
        line for line in shipped_log.splitlines() if not any(word in line for word in timed)
    ]


ALL_PARTS = {  # every optional part that one run can have at once
    "model.attn_gate": "dense",
    "model.smear_gate_bos_id": 1,
    "model.conv_kernel": 3,
    "model.two_lane_from": 2,
    "train.data_order": "documents",
    "train.decay_schedule": "cautious",
    "train.ema_nesterov_beta": 0.3,
    "train.norm_dropout_frac": 0.1,
    "ttt.method": "phased",
    "phased.prefix_documents": 2,
    "phased.chunk_tokens": 256,
    "phased.lora_lr": 1e-4,
    "lora.rank": 2,
    "memory.scope": "document",
    "memory.tilt_order": 4,
    "calibrate.source": "self",
    "evaluate.order": "documents",
}
FEWEST_PARTS = {
    "memory.orders": [],
    "memory.escape_weights": [],
    "quantize.grid": "row",
    "quantize.coding": "scalar",
    "quantize.rate_weight": 0.0,
    "calibrate.sensitivity_tokens": 0,
    "compress.codec": "brotli",
}
SCALAR_CODES = {"quantize.coding": "scalar", "quantize.rate_weight": 0.0}
RATE_WITHOUT_ANS = {"quantize.coding": "scalar", "compress.codec": "brotli", "ttt.method": "none"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [ALL_PARTS, FEWEST_PARTS, SCALAR_CODES, RATE_WITHOUT_ANS],
    ids=["all parts", "fewest parts", "scalar codes", "rate without ANS"],
)
def test_a_script_holds_the_code_that_its_settings_use(project_dir, tmp_path, changes):
    settings = dataclasses.asdict(loader.load_config())
    for dotted, value in changes.items():
        section, _, key = dotted.partition(".")
        settings[section][key] = value
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / packing.SCRIPT_NAME).write_bytes(packing.pack_bundle(settings))
    completed = run_script(tmp_path / "empty", project_dir / "artifacts/fetch", "--modes", *MODES)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.count("val_bpb:") == len(MODES), completed.stdout


def test_check_submission_finds_nothing_in_a_bundle_of_the_last_run(project_dir):
    assert cli.main(["bundle", "--out", "runs/submission", "--author", "Your Name", "--github-id", "you"]) == 0
    assert cli.main(["check-submission", "runs/submission"]) == 0
    assert report.review_folder(project_dir / "runs/submission").findings == []


def test_a_script_without_data_says_where_it_looked_in_one_message(project_dir, tmp_path):
    out = tmp_path / "submission"
    assert cli.main(["bundle", "--out", str(out)]) == 0
    (tmp_path / "nothing").mkdir()
    tokenizer = project_dir / "artifacts/fetch/tokenizer.model"
    completed = run_script(out, tmp_path / "nothing", "--tokenizer", str(tokenizer))
    assert completed.returncode == 1
    message = completed.stderr.strip().splitlines()
    assert message == [
        f"train_gpt.py: {tmp_path / 'nothing'}: holds no fineweb_train_*.bin; set DATA_PATH to the folder of the token "
        "shards"
    ]
