import json

from tests.helpers import submission_folders
from tests.helpers.submission_folders import outcome, texts, write_valid_submission


def test_logs_on_other_data_of_another_configuration_or_of_another_model_contradict_each_other(tmp_path):
    for changed, words in (
        ({"shards": 39}, "train_shards: 80 in train_seed314.log and train_seed999.log, 39 in train_seed42.log"),
        ({"layers": 9}, "num_layers: 11 in train_seed314.log and train_seed999.log, 9 in train_seed42.log"),
        ({"tokens": 9_660_000}, "val_tokens: 40,540,160 in train_seed314.log and train_seed999.log, 9,660,000 in"),
    ):
        write_valid_submission(tmp_path)
        (tmp_path / "train_seed42.log").write_text(submission_folders.modern_log(42, 1.0801, **changed))
        result = outcome(tmp_path, "one run")
        assert (result.status, words in texts(result)) == ("FAIL", True), texts(result)


def test_a_script_that_a_log_prints_and_that_is_shipped_gives_no_finding(tmp_path):
    folder = write_valid_submission(tmp_path)
    source = "import torch\ndef main():\n    pass\nx = 1\ny = 2\nmain()\n"
    (folder / "train_gpt.py").write_text(source)
    for log in folder.glob("*.log"):
        start = log.read_text().index("import torch")
        end = log.read_text().index(submission_folders.SEPARATOR, start)
        log.write_text(log.read_text()[:start] + source + log.read_text()[end:])
    result = outcome(folder, "source")
    assert (result.status, result.measured) == ("PASS", "3 printed scripts compared")


def test_seeds_that_only_json_or_only_logs_have_are_named_and_a_seed_twice_is_open(tmp_path):
    result = outcome(write_valid_submission(tmp_path, claims={"seeds": [42, 314, 2024]}), "C4-d")
    assert "clerical: submission.json lists seed 2024, of which no log has a score" in texts(result)
    unlisted = {"seeds": [42, 314], "seed_results": None}
    result = outcome(write_valid_submission(tmp_path, {42: 1.08, 7: 1.09}, unlisted | {"val_bpb": 1.085}), "C4-d")
    assert (result.status, "does not list seed 7" in texts(result)) == ("FAIL", True), texts(result)
    write_valid_submission(tmp_path)
    (tmp_path / "again.log").write_text(submission_folders.modern_log(42, 1.0799))
    result = outcome(tmp_path, "C4-c")
    assert (result.status, "the headline's is train_seed42.log" in texts(result)) == ("UNRULED", True)


def test_runs_of_several_seeds_in_one_file_are_logs_of_their_own(tmp_path):
    folder = write_valid_submission(tmp_path, {})
    text = "".join(submission_folders.modern_log(seed, bpb) for seed, bpb in submission_folders.BPB_BY_SEED.items())
    (folder / "train.log").write_text(text)
    claims = submission_folders.submission_json()
    (folder / "submission.json").write_text(json.dumps(claims))
    reviewed = submission_folders.review(folder)
    assert reviewed.findings == []
    assert [row.log.seed for row in reviewed.review.rows] == [42, 314, 999]
