"""golf/submission/bundle/folder.py and runs.py: a folder of finished runs, its review, and runs that do not match"""

import json

import pytest

from golf.artifacts import io, json_records
from golf.errors import ArtifactError, ConfigError, InputError
from golf.submission import report
from golf.submission.bundle import folder, packing
from golf.submission.bundle.folder import Author
from tests.helpers.bundle_runs import MODEL_BYTES, RECORD, SOURCES, write_run
from tests.helpers.file_tree import write_files
from tests.helpers.submission_folders import BPB_BY_SEED

AUTHOR = Author("A. Golfer", "golfer", "A model")


@pytest.fixture
def three_runs(tmp_path):
    return [write_run(tmp_path / str(seed), seed, bpb) for seed, bpb in BPB_BY_SEED.items()]


def test_a_folder_of_three_seeds_passes_its_review(three_runs, tmp_path):
    folder.write_folder(tmp_path / "out", three_runs, AUTHOR)
    assert report.review_folder(tmp_path / "out").findings == []


def test_json_readme_and_logs_give_the_runs_figures(three_runs, tmp_path):
    records = folder.write_folder(tmp_path / "out", three_runs, AUTHOR)
    claims = json.loads((tmp_path / "out/submission.json").read_text())
    script = (tmp_path / "out" / packing.SCRIPT_NAME).read_bytes()
    assert script == (three_runs[0] / "artifacts/compress/bundle.pyz").read_bytes()
    assert (claims["bytes_code"], claims["bytes_total"]) == (len(script), MODEL_BYTES + len(script))
    assert claims["val_bpb"] == pytest.approx(1.0803)
    assert claims["val_bpb_std"] == pytest.approx(0.0002)
    assert (claims["seeds"], claims["track"]) == ([42, 314, 999], "10min_16mb")
    assert claims["seed_results"]["42"]["steps"] == 4550
    assert claims["checks"]["B-e"] == ["NOT-RUN"] * 3
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"| 314 | 1.08030000 | {records[1].metrics['val_loss']:.8f} | 4550 | 587.5 | 11.2 | 366.5 |" in readme
    assert "Seed 42, NOT-RUN: B-e" in readme
    log = (tmp_path / "out/train_seed999.log").read_text()
    for line in ("seed: 999", "train_shards: 80", f"Code size: {len(script)} bytes", "step:10/4550 train_loss:3.2500"):
        assert line in log


def test_the_readme_names_the_runs_own_text_and_seed(tmp_path):
    run = write_run(tmp_path / "run", 314, 1.08)
    folder.write_folder(tmp_path / "hub", [run], AUTHOR)
    readme = (tmp_path / "hub" / "README.md").read_text()
    paths = "DATA_PATH=data/datasets/fineweb10B_sp8192 TOKENIZER_PATH=data/tokenizers/fineweb_8192_bpe.model"
    assert f"{paths} SEED=314 torchrun" in readme
    assert "The text is the variant sp8192 of owner/name at commit 0123456789abcdef." in readme
    json_records.write_sealed(run / "artifacts/fetch/manifest.json", {"source": {"kind": "docs", "sha256": "b" * 64}})
    folder.write_folder(tmp_path / "docs", [run], AUTHOR)
    readme = (tmp_path / "docs" / "README.md").read_text()
    assert "DATA_PATH=artifacts/fetch TOKENIZER_PATH=artifacts/fetch/tokenizer.model SEED=314" in readme
    assert f"`fetch.source: docs`, text {'b' * 12}." in readme
    assert "fineweb10B" not in readme


def test_a_run_without_an_evaluation_has_no_score_anywhere(tmp_path):
    run = write_run(tmp_path / "run", 42, 1.08, is_evaluated=False)
    folder.write_folder(tmp_path / "out", [run], AUTHOR)
    assert "NOT-RUN" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out/submission.json").read_text())["val_bpb"] is None
    assert "val_bpb" not in (tmp_path / "out/train_seed42.log").read_text()


def test_settings_that_no_run_has_give_a_script_and_no_figures(tmp_path):
    root = write_files(tmp_path / "root", SOURCES)
    n_bytes = folder.write_unmeasured_folder(tmp_path / "out", RECORD, root, AUTHOR)
    assert (tmp_path / "out" / packing.SCRIPT_NAME).stat().st_size == n_bytes
    assert json.loads((tmp_path / "out/submission.json").read_text())["val_bpb"] is None
    assert not list((tmp_path / "out").glob("*.log"))


def other_settings(run, base):
    return write_run(base / "b", 7, 1.08, train__muon_lr=0.5)


def same_seed(run, base):
    return write_run(base / "b", 42, 1.08)


def other_text(run, base):
    other = write_run(base / "b", 7, 1.08)
    io.write_json(other / "artifacts/fetch/val/index.json", {"shards": []})
    return other


@pytest.mark.parametrize(
    ("make_other", "words"),
    [
        (other_settings, r"train\.muon_lr is 0\.5 there and .* all runs of a submission must have the same settings"),
        (same_seed, "seed 42 twice"),
        (other_text, "its texts are not those of"),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_refused_and_nothing_is_written(make_other, words, tmp_path):
    run = write_run(tmp_path / "a", 42, 1.08)
    with pytest.raises(InputError, match=words):
        folder.write_folder(tmp_path / "out", [run, make_other(run, tmp_path)], AUTHOR)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quantize__weights": "ttt"}, r"quantize\.weights: a bundle has ema, got ttt"),
        ({"quantize__refine_steps": 4}, r"quantize\.refine_steps: a bundle has 0, got 4"),
        ({"evaluate__predictor": "mine:Predictor"}, r"evaluate\.predictor: a bundle has golf\..*, got mine:Predictor"),
    ],
)
def test_a_run_that_did_something_else_than_the_script_does_is_refused(changes, words, tmp_path):
    run = write_run(tmp_path / "run", 42, 1.08, **changes)
    with pytest.raises(ConfigError, match=words):
        folder.write_folder(tmp_path / "out", [run], AUTHOR)


def test_a_script_that_compress_did_not_weigh_and_a_foreign_verdict_are_named(tmp_path):
    run = write_run(tmp_path / "run", 42, 1.08)
    verdict = run / "artifacts/evaluate/verdict.json"
    io.write_json(verdict, io.read_json(verdict) | {"artifact_sha256": "b" * 64})
    with pytest.raises(ArtifactError, match=r"verdict\.json: is of another artifact .* dvc repro evaluate"):
        folder.write_folder(tmp_path / "out", [run], AUTHOR)
    (run / "artifacts/compress/bundle.pyz").write_bytes(b"other")
    with pytest.raises(ArtifactError, match=r"bundle\.pyz: is missing or not the file that compress weighed"):
        folder.write_folder(tmp_path / "out", [run], AUTHOR)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    run = write_run(tmp_path / "run", 42, 1.08)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("x")
    with pytest.raises(InputError, match="exists and is not an empty folder; name another one with --out"):
        folder.write_folder(tmp_path / "out", [run], AUTHOR)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
