import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from golf.submission.logs import decoding, log_parser
from golf.submission.logs.training_log import TrainingLog
from tests.helpers import submission_folders


def parse_runs(text: str, name: str = "a") -> list[TrainingLog]:
    """The runs of a log, as a review reads them."""
    return log_parser.parse_lines(name, decoding.normalize_lines(text))


def parse(name: str, text: str) -> TrainingLog:
    """The last run of a log."""
    return parse_runs(text, name)[-1]


def test_a_modern_log_gives_every_fact():
    log = parse("train.log", submission_folders.modern_log(42, 1.0801))
    assert log.facts == {
        "seed": 42,
        "world_size": 8,
        "train_shards": 80,
        "val_tokens": 40_540_160,
        "model_params": 35_944_536,
        "step": 4550,
        "train_seconds": 588,
        "hessian_seconds": 11.5,
        "model_bytes": submission_folders.MODEL_BYTES,
        "code_bytes": submission_folders.CODE_BYTES,
        "total_bytes": submission_folders.MODEL_BYTES + submission_folders.CODE_BYTES,
    }
    assert [score.name for score in log.scores] == ["quantized", "quantized_sliding_window", "quantized_ttt"]
    assert (log.final_score.bpb.value, log.final_score.seconds) == (1.0801, 366.5)
    assert log.settings == {"num_layers": "11", "world_size": "8", "model_params": "35944536"}
    assert (log.lines["seed"], log.final_score.line) == (5, 29)
    assert log.gpu == "H100 80GB HBM3"
    assert (log.is_recognized, log.crash) == (True, "")


def test_an_early_log_gives_its_exact_score_with_the_seconds_of_the_rounded_line():
    log = parse("train.log", submission_folders.early_log(1337, 1.22436570))
    assert (log.seed, log.facts["val_tokens"], log.facts["train_shards"]) == (1337, 62_021_632, 25)
    assert log.facts["train_seconds"] == pytest.approx(600.038)
    assert (log.facts["model_bytes"], log.total_bytes) == (
        submission_folders.MODEL_BYTES,
        submission_folders.MODEL_BYTES + submission_folders.CODE_BYTES,
    )
    assert [score.name for score in log.scores] == ["final_int8_zlib_roundtrip"]
    assert (log.final_score.bpb.value, log.final_score.bpb.n_decimals, log.final_score.seconds) == (1.2243657, 8, 1.401)
    assert log.settings["train_seq_len"] == "1024"


def test_a_source_dumped_at_the_head_is_not_read_as_results():
    head = "import os\ndef main():\n    pass\nfinal val_loss:1.0 val_bpb:0.5\n  seed: 7\nval_tokens: 5\n"
    whole = submission_folders.early_log(1337, 1.2)
    log = parse("a", f"{head}{submission_folders.SEPARATOR}\n{whole}")
    assert (log.facts, log.settings) == (parse("a", whole).facts, parse("a", whole).settings)
    assert log.dumps[0].lines[0] == "import os"


@pytest.mark.parametrize(
    ("line", "name", "seconds"),
    [
        ("legal_ttt_exact val_loss:1.88176 val_bpb:1.11449", "legal_ttt", None),
        ("ttt_sliding:done val_loss=1.948100 val_bpb=1.153778 elapsed=509.2s", "ttt_sliding:done", 509.2),
        ("final_int6_sliding val_loss:1.9 val_bpb:1.1 stride:64 eval_time:62326ms", "final_int6_sliding", 62.326),
        ("quantized_ttt_phased val_loss:2.3 val_bpb:1.06 eval_time:453812ms", "quantized_ttt_phased", 453.812),
    ],
)
def test_the_final_line_is_found_under_the_name_of_each_script(line, name, seconds):
    score = parse("a", line).final_score
    assert (score.name, score.seconds) == (name, seconds)


@pytest.mark.parametrize(
    "line",
    [
        "step:7821/20000 val_loss:1.9913 val_bpb:1.1793 train_time:603198ms",
        "4550/20000 val_loss: 2.8121 val_bpb: 1.0886",
        "diagnostic quantized val_loss:2.3 val_bpb:1.07",
        "pre-quantization post-ema val_loss:2.3 val_bpb:1.07",
        "    quantized val_loss:{loss:.8f} val_bpb:{bpb:.8f}",
        "# legal_ttt val_loss:1.9 val_bpb:1.1",
        "quantized val_loss:0.0 val_bpb:0.0",
    ],
)
def test_a_step_a_diagnostic_and_a_line_of_code_are_no_results(line):
    assert parse("a", line).final_score is None


@pytest.mark.parametrize(
    ("line", "fact", "value"),
    [
        ("gptq:collected hessians for 66 layers (selfgen, 12.3s)", "hessian_seconds", 12.3),
        ("Total submission size quantized+brotli:12633202", "total_bytes", 12_633_202),
        ("Code size (compressed): 31999 bytes", "code_bytes", 31_999),
        ("Code size (uncompressed): 158429 bytes", "raw_code_bytes", 158_429),
        ("total_eval_time:453.8s", "eval_seconds", 453.8),
        ("serialize_wallclock: 81.8s", "serialize_seconds", 81.8),
        ("val_tokens: 47,851,520", "val_tokens", 47_851_520),
        ("10/20000 train_loss: 2.7 train_time: 1.5m", "train_seconds", 90),
    ],
)
def test_a_fact_is_found_in_the_forms_that_scripts_gave_it(line, fact, value):
    assert parse("a", line).facts[fact] == pytest.approx(value)


def test_the_seed_in_the_files_name_stands_in_for_one_that_the_log_lacks():
    assert parse("train_seed42.log", "").seed == 42
    assert parse("train_seed42.log", "seed:7").seed == 7
    assert parse("train.log", "").seed is None


def test_a_traceback_after_the_last_score_is_a_crash_and_one_before_it_is_not():
    whole = submission_folders.modern_log(42, 1.08)
    assert parse("a", whole + "Traceback (most recent call last):\n").crash
    assert not parse("a", "Traceback (most recent call last):\n" + whole).crash


@given(st.text())
@example("0/0")
@example("warmup_step:1/20")
@example("loss 2.3 after 4550/20000")
@example("{}")
@example("val_bpb: 1.08")
def test_any_text_is_read_without_an_error_and_only_a_log_is_known(text):
    assert not parse("a", text).is_recognized


N_BYTES = 300_000
HOSTILE_LINES = {
    "empty": "\n",
    "carriage returns": "\r",
    "short": "a\n",
    "settings": " k: v\n",
    "collected hessians": "collected " * 4 + "hessians " * 5 + "1" * 1850 + "\n",
    "hessians": "collected hessians " * 100 + "\n",
    "collected": "collected " * 200 + "\n",
    "seeds": "seed:1\n",
    "gpus in one line": "NVIDIA A ",
    "scores": "a val_loss:1.5 val_bpb:1.5\n",
    "scores in one line": "a val_loss:1.5 val_bpb:1.5 ",
    "times": "train_time:1s\n",
    "steps": "1/1 a_loss\n",
    "digits": "1",
    "digits and points": "train_time:" + "1." * 990 + "\n",
    "words": "w",
    "spaces": " ",
    "settings in one line": "a:b ",
    "loaders": "val_loader: tokens ",
    "rows of =": "=" * 41 + "\nimport a\ndef b\n",
    "=": "=",
    "losses": "loss: ",
    "repeated passes": "a val_loss:1.5 val_bpb:1.25\na val_loss:1.6 val_bpb:1.26\n",
    "runs": "Hyperparameters:\nstep:99/100 train_loss:1\na val_loss:1.5 val_bpb:1.25\n",
    "prefixes": "2026-04-01 12:00:00,123 - INFO - [rank0] 12:00:00 \n",
    "stamps in one line": "12:00:01 ",
    "mentions": "val_bpb:1.0811\n",
    "errors": "a." * 5 + "w" * 60 + "Error\n",
    "escapes": "\x1b[0m",
    "words before a loss": "step:1/1 " + "y" * 190 + "\n",
}


@pytest.mark.soak
@pytest.mark.parametrize("name", HOSTILE_LINES)
def test_a_hostile_text_takes_time_in_proportion_to_its_length(name):
    line = HOSTILE_LINES[name]
    text = line * (N_BYTES // len(line))
    started_at = time.process_time()
    parse("a", text)
    assert time.process_time() - started_at < 10 * 0.5 * N_BYTES / 1e6, "ten times what is allowed"


def count_calls(text: str) -> int:
    """How many functions, Python's and C's, are called while a text is parsed."""
    n_calls = 0

    def count(frame, event, argument):
        nonlocal n_calls
        n_calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        parse_runs(text)
    finally:
        sys.setprofile(None)
    return n_calls


@pytest.mark.parametrize("name", HOSTILE_LINES)
def test_the_calls_that_a_hostile_text_costs_grow_no_faster_than_its_length(name):
    line = HOSTILE_LINES[name]
    short, long = (count_calls(line * (n_bytes // len(line))) for n_bytes in (8_000, 32_000))
    assert long <= 4.5 * short + 500
    assert long < 32_000 * 4


@pytest.mark.soak
@pytest.mark.parametrize("name", ["empty", "settings", "scores", "repeated passes", "runs", "prefixes"])
def test_a_log_of_five_megabytes_takes_a_bounded_number_of_cpu_seconds(name):
    line = HOSTILE_LINES[name]
    started_at = time.process_time()
    parse_runs(line * (5_000_000 // len(line)))
    assert time.process_time() - started_at < 10 * 5 * 2, "ten times what is allowed, 2 s for each MB"


def test_of_very_many_scores_and_settings_the_last_and_the_first_are_kept():
    settings = "".join(f"  k{number}: v\n" for number in range(9_000))
    scores = "".join(f"s{number} val_loss:1.5{number} val_bpb:1.2{number}\n" for number in range(9_000))
    log = parse("a", settings + scores)
    assert log.final_score.name == "s8999"
    assert (len(log.scores), len(log.settings)) == (5_000, 5_000)
