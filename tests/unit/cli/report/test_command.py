"""golf/cli/report/: golf report writes one page that loads nothing and says NOT-RUN for what is missing"""

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from golf.artifacts import io
from golf.cli.main import main
from golf.cli.report import command, score_sections
from golf.cli.report.run_files import RunFiles
from golf.compliance.check_result import FAIL, UNRULED, CheckResult
from golf.evaluation.ledger import LedgerData
from tests.helpers import report_pages, report_run
from tests.helpers.report_pages import read_section

SECTIONS = (
    "result", "pipeline", "training", "averages", "scores", "bits", "bytes", "rate-distortion", "scoreboard",
    "verdict", "lineage",
)  # fmt: skip
CHARTS = {
    "stage-seconds", "stage-bytes", "loss", "rates", "ema", "running-bpb", "bpb-by-position", "bits-by-tensor",
    "bytes-by-part", "rate-distortion-0", "scoreboard-chart",
}  # fmt: skip


@pytest.fixture
def run_dir(tmp_path, monkeypatch, tiny_model_config) -> Path:
    monkeypatch.chdir(tmp_path)
    return report_run.write_report_run(tiny_model_config)


def render(folder: Path = Path("artifacts")) -> ElementTree.Element:
    command.write_report(folder, Path("report.html"))
    return report_pages.parse_page()


def test_the_page_of_a_whole_run_has_every_section_and_every_chart(run_dir, capsys):
    assert main(["report", "--run", "artifacts", "--out", "report.html"]) == 0
    n_bytes = Path("report.html").stat().st_size
    assert capsys.readouterr().out == f"report.html: {n_bytes:,} bytes, {len(SECTIONS)} sections\n"
    root = render()
    assert [node.get("id") for node in root.iter("section")] == list(SECTIONS)
    assert report_pages.find_charts(root) == CHARTS
    boxes = [node for node in root.iter("p") if node.get("class") == "box"]
    assert boxes == [], "nothing is missing"


def test_the_page_is_whole_html_with_unique_ids_and_no_script(run_dir):
    render()
    report_pages.assert_whole_html("report.html", SECTIONS)


def test_the_page_names_no_address_that_a_browser_would_load(run_dir):
    render()
    report_pages.assert_no_address("report.html")


def test_the_figures_are_those_of_the_files(run_dir):
    root = render()
    metrics = io.read_json("artifacts/evaluate/metrics.json")
    result = read_section(root, "result")
    assert result.count(f"{metrics['val_bpb']:.4f}") == 2, "large and in the table"
    assert "588.1 600.0" in result.replace(".1600", ".1 600")
    assert "17 steps over 1,700 tokens in 570 s" in read_section(root, "training")
    assert "Depth recurrence is on from step 13" in read_section(root, "training")
    assert "+0.0125" in read_section(root, "averages")
    assert "3.125 bits per weight over 1,200 weights" in read_section(root, "bits")
    assert "Not drawn, with a loss of at most 0.0001: 1." in read_section(root, "rate-distortion")
    assert "artifacts/fetch/train" in read_section(root, "lineage")
    assert "No recorded input leads from val to the artifact" in read_section(root, "lineage")
    assert "NOT-RUN" in read_section(root, "scoreboard"), "the row without a score"


@pytest.mark.parametrize(
    ("path", "anchors"),
    [
        ("artifacts/evaluate/verdict.json", ["result", "verdict"]),
        ("artifacts/evaluate/running_bpb.csv", ["scores"]),
        ("artifacts/train/log.csv", ["training"]),
        ("artifacts/ema/metrics.json", ["averages"]),
        ("artifacts/quantize/tensors.csv", ["bits"]),
        ("artifacts/compress/sizes.json", ["bytes"]),
        ("artifacts/compress/model.golf", ["lineage"]),
        (report_run.RATE_DISTORTION, ["rate-distortion"]),
        (report_run.SCOREBOARD, ["scoreboard"]),
    ],
)
def test_what_is_missing_says_not_run_with_its_file_and_how_to_make_it(run_dir, path, anchors):
    Path(path).unlink()
    root = render()
    for anchor in anchors:
        text = read_section(root, anchor)
        assert f"NOT-RUN: {path} is missing; " in text
        assert re.search(r"dvc repro|PYTHONPATH=\. python benchmarks", text)


def test_a_stage_without_outputs_has_written_no_bytes(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/metrics.json").write_text("{}")
    assert RunFiles(tmp_path, tmp_path).measure_outputs("train") is None
    (tmp_path / "train/log.csv").write_text("step\n1\n")
    assert RunFiles(tmp_path, tmp_path).measure_outputs("train") == 7


def test_an_empty_table_is_a_measurement_that_was_not_made(run_dir):
    io.write_csv("artifacts/train/dev.csv", [])
    io.write_csv("artifacts/ema/checkpoints.csv", [])
    root = render()
    assert "NOT-RUN: no loss of dev was measured" in read_section(root, "training")
    assert "NOT-RUN: no checkpoints" in read_section(root, "averages")


def test_rate_distortion_by_divergence_is_drawn_in_its_own_unit(run_dir):
    row = {
        "run": "laptop-314",
        "recipe": "rows, ans",
        "bytes": 900_000,
        "bpb_increase": -0.1,
        "half_width": "",
        "kl": 0.002,
    }
    io.write_csv(report_run.RATE_DISTORTION, [row, row | {"bytes": 700_000, "kl": 0.02}])
    text = read_section(render(), "rate-distortion")
    assert "KL from full precision, nats per token" in text
    assert "bits per byte" not in text
    assert "Not drawn" not in text


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("artifacts/evaluate/verdict.json", b"{}"),
        ("artifacts/evaluate/metrics.json", b"{}"),
        ("artifacts/evaluate/running_bpb.csv", b"tokens,plain\n1,2\n"),
        ("artifacts/evaluate/ledgers/ttt.safetensors", b"short"),
        ("artifacts/train/log.csv", b"step,loss\n1,nan\n"),
        ("artifacts/train/run.json", b'{"seconds": -1, "hardware": "CPU"}'),
        ("artifacts/ema/metrics.json", b'{"decay": "x"}'),
        ("artifacts/quantize/tensors.csv", b""),
        ("artifacts/compress/sizes.csv", b"part,bytes\ncode,4\n"),
        ("artifacts/compress/model.golf", b"GOLF"),
        (report_run.RATE_DISTORTION, b"run\nlaptop\n"),
        (report_run.SCOREBOARD, b'{"corpus": {}, "machine": "m", "rows": []}'),
    ],
)
def test_a_damaged_file_is_one_message_that_names_it_and_no_page_is_written(run_dir, capsys, path, content):
    Path(path).write_bytes(content)
    assert main(["report"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("golf report: ")
    assert Path(path).name in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not Path("report.html").exists()


def test_an_artifact_that_was_not_evaluated_is_named_stale(run_dir, tiny_model_config):
    assert "is not the one that was evaluated" not in read_section(render(), "result")
    report_run.write_report_run(tiny_model_config)
    Path("artifacts/compress/sizes.json").unlink()
    io.write_bytes("artifacts/compress/model.golf", b"another model")
    assert "NOT-RUN: the model.golf of this run is not the one that was evaluated" in read_section(render(), "result")


def test_a_disputed_method_and_an_invalid_score_are_labeled_beside_the_number(run_dir, tiny_model_config):
    shutil.rmtree(run_dir / "evaluate")
    report_run.write_report_run(
        tiny_model_config, CheckResult("U-a", UNRULED, "3 epochs", "1", "asked in #1698, no ruling")
    )
    rows = [" ".join("".join(row.itertext()).split()) for row in render().iter("tr")]
    labels = [row for row in rows if "disputed: several epochs on scored chunks, asked in #1698" in row]
    assert [label.partition(")")[0] for label in labels] == ["score-first learning and memory (ttt"]
    assert "(ttt), disputed" in read_section(render(), "scores")
    shutil.rmtree(run_dir / "evaluate")
    report_run.write_report_run(tiny_model_config, CheckResult("C1-e", FAIL, "val", "no val", "val is upstream"))
    assert read_section(render(), "result").count("invalid") >= 4, "the headline, and each mode"


def test_each_score_says_what_it_can_be_compared_with(run_dir):
    root = render()
    assert "compare with scores on the whole of that text" in read_section(root, "result")
    assert "do not compare its score with these" in read_section(root, "scoreboard"), "another val"
    assert "this run" not in "".join(node.text or "" for node in root.iter("li"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "nowhere"], "--run nowhere: not the artifacts of a run"),
        (["--run", "."], "--run .: not the artifacts of a run"),
        (["--out", "page.pdf"], "--out page.pdf: expected a file name that ends in .html"),
        (["--out", "artifacts/train/log.csv/page.html"], "artifacts/train/log.csv"),
    ],
)
def test_a_wrong_folder_or_file_name_is_one_message(run_dir, capsys, arguments, message):
    assert main(["report", *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1


def test_the_same_run_gives_the_same_page_wherever_it_lies(run_dir, tmp_path):
    command.write_report(run_dir, Path("one.html"))
    shutil.copytree(tmp_path / "artifacts", tmp_path / "copy/artifacts")
    shutil.copytree(tmp_path / "benchmarks", tmp_path / "copy/benchmarks")
    command.write_report(tmp_path / "copy/artifacts", Path("two.html"))
    assert Path("one.html").read_bytes() == Path("two.html").read_bytes()


def test_bpb_by_position_is_the_bits_of_a_bin_over_its_bytes():
    nll = np.log(2) * np.array([9, 1, 1, 4, 4, 5, 3], dtype=np.float64)
    data = LedgerData(nll, np.array([0, 1, 1, 2, 2, 1, 1]), np.zeros(7), np.array([0, 5]), np.zeros((1, 32)))
    points = score_sections.compute_bpb_by_position(data)
    assert points == [(1.0, pytest.approx((9 + 1 + 1 + 5 + 3) / 4)), (4.0, pytest.approx(8 / 4))]


def test_the_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    assert "example: golf report --out report.html" in capsys.readouterr().out
