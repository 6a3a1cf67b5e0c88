"""benchmarks/scoreboard_report.py: tables and pictures show what was measured, and NOT-RUN for the rest"""

import numpy as np
import pytest

from benchmarks import scoreboard_report
from golf.artifacts import io

CORPUS = {"val": {"documents": 3, "bytes": 300}, "val_document_bytes": [100, 100, 100], "clean_bytes": 250}


def make_row(title: str, coder: str, mode: str, limit_bytes: int | None, bpb: float, **changes) -> dict:
    row = {
        "title": title,
        "coder": coder,
        "mode": mode,
        "limit_bytes": limit_bytes,
        "minutes": None,
        "status": "ok",
        "run": "a",
        "settings": {},
        "total_bytes": 950,
        "bpb": bpb,
        "clean_bpb": bpb + 0.1,
        "document_bits": [100 * bpb - 1, 100 * bpb, 100 * bpb + 1],
        "build_seconds": 12.0,
        "score_seconds": 3.0,
        "score_peak_bytes": 400_000_000,
    }
    return row | changes


ROWS = [
    make_row("golf", "golf", "plain", 1000, 1.4),
    make_row("golf", "golf", "ttt", 1000, 1.3),
    make_row("PPMd var. H", "ppmd-h", "", None, 1.7),
    make_row("PPMd var. H", "ppmd-h", "", 1000, 1.5, settings={"order": 16, "part": "nearest", "prime_bytes": 9}),
    make_row("ZPAQ", "zpaq", "", 1000, 1.2, document_bits=None, clean_bpb=None, run="b"),
    make_row("golf", "golf", "ttt", 1000, 1.45, minutes=1.0, build_seconds=60.0),
    make_row("plain GPT, AdamW", "gpt", "sliding", 1000, 1.6, minutes=1.0, build_seconds=60.0),
    {
        "title": "bzip3",
        "coder": "bzip3",
        "limit_bytes": 1000,
        "minutes": None,
        "status": "NOT-RUN",
        "reason": "bzip3 is not installed",
    },
]


@pytest.fixture
def folder(tmp_path):
    result = {"machine": "toy CPU", "threads": 2, "corpus": CORPUS, "reference": ["golf", "ttt"], "rows": ROWS}
    io.write_json(tmp_path / scoreboard_report.RESULTS_FILE, result)
    return tmp_path


def find_cells(table: str, title: str) -> list[list[str]]:
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith(f"| {title} |")]
    return [[cell.strip(" |") for cell in cells] for cells in lines]


def test_a_row_has_its_scores_and_its_paired_difference_to_golf_at_the_same_size(folder):
    table = scoreboard_report.render_table(folder)
    primed = find_cells(table, "PPMd var. H")[1]
    assert primed == [
        "PPMd var. H",
        "950",
        "1.5000",
        "1.6000",
        "+0.2000 ± 0.0000",
        "12.0",
        "3.0",
        "400 MB",
        "order 16, part nearest",
    ]
    assert "At most 1,000 bytes, 1 minutes of training" in table


def test_what_was_not_measured_is_not_run(folder):
    table = scoreboard_report.render_table(folder)
    assert find_cells(table, "PPMd var. H")[0][4] == "NOT-RUN", "golf has no row without a prime"
    assert find_cells(table, "ZPAQ")[0][3:5] == ["NOT-RUN", "NOT-RUN"]
    assert find_cells(table, "bzip3")[0][1:] == [*["NOT-RUN"] * 7, "bzip3 is not installed"]


def test_seconds_of_another_run_stand_in_parentheses(folder):
    table = scoreboard_report.render_table(folder)
    assert find_cells(table, "ZPAQ")[0][5:7] == ["(12.0)", "(3.0)"]
    assert "don't compare them" in table


def test_the_summary_has_a_column_for_each_size(folder):
    lines = scoreboard_report.render_summary(folder).splitlines()
    assert lines[0] == "| bpb of val | 1,000 bytes |"
    assert "| golf, ttt | 1.3000 |" in lines
    assert "| ZPAQ | 1.2000 |" in lines
    assert "| golf ttt / the best other row | 1.083 |" in lines, "ZPAQ has no scores by document"


def test_the_ratio_to_the_best_row_has_an_interval_over_documents(folder):
    results = io.read_json(folder / scoreboard_report.RESULTS_FILE)
    rows = [row for row in results["rows"] if row["title"] != "ZPAQ"]
    rows[1] = rows[1] | {"document_bits": [100.0, 150.0, 140.0]}
    io.write_json(folder / scoreboard_report.RESULTS_FILE, results | {"rows": rows})
    line = scoreboard_report.render_summary(folder).splitlines()[-1]
    residuals = np.array([100.0, 150.0, 140.0]) - 390 / 450 * np.array([149.0, 150.0, 151.0])
    half_width = 4.302653 * np.sqrt(3 / 2 * np.square(residuals).sum()) / 450  # Student's t of 2 degrees of freedom
    assert line == f"| golf ttt / the best other row | {390 / 450:.3f} ± {half_width:.3f} |"


def test_without_results_everything_is_not_run(tmp_path):
    assert scoreboard_report.render_table(tmp_path) == scoreboard_report.render_summary(tmp_path)
    assert "NOT-RUN" in scoreboard_report.render_table(tmp_path)
    assert scoreboard_report.draw_pictures(tmp_path) == []


def test_the_pictures_are_the_same_bytes_each_time(folder):
    paths = scoreboard_report.draw_pictures(folder)
    assert [path.name for path in paths] == [scoreboard_report.BYTES_PICTURE, scoreboard_report.MINUTES_PICTURE]
    before = [path.read_bytes() for path in paths]
    scoreboard_report.draw_pictures(folder)
    assert [path.read_bytes() for path in paths] == before


def test_a_line_of_progress_names_the_reason(folder):
    assert scoreboard_report.format_line("bzip3@1000", ROWS[-1]).endswith("NOT-RUN: bzip3 is not installed")
    assert "1.5000 bpb  clean 1.6000  950 bytes" in scoreboard_report.format_line("ppmd-h@1000", ROWS[3])


def test_rows_that_a_command_does_not_measure_stay(folder):
    new = make_row("ZPAQ", "zpaq", "", 1000, 1.1)
    merged = scoreboard_report.merge_rows(folder, CORPUS, [new])
    assert len(merged) == len(ROWS)
    assert [row for row in merged if row["coder"] == "zpaq"] == [new]
    assert all(row in merged for row in ROWS if row["coder"] != "zpaq")


def test_rows_of_another_corpus_do_not_stay(folder):
    new = make_row("ZPAQ", "zpaq", "", 1000, 1.1)
    assert scoreboard_report.merge_rows(folder, CORPUS | {"clean_bytes": 1}, [new]) == [new]


def test_the_text_codec_is_no_rival_of_golf(folder):
    row = make_row("golf text codec", "encode", "encode", 1000, 0.9)
    results = io.read_json(folder / scoreboard_report.RESULTS_FILE)
    before = scoreboard_report.render_summary(folder)
    io.write_json(folder / scoreboard_report.RESULTS_FILE, results | {"rows": [*ROWS, row]})
    assert scoreboard_report.render_summary(folder) == before


def test_a_better_row_of_fewer_bytes_is_the_one_to_beat(folder):
    results = io.read_json(folder / scoreboard_report.RESULTS_FILE)
    small = make_row("ZPAQ", "zpaq", "", 500, 1.1, document_bits=None)
    io.write_json(folder / scoreboard_report.RESULTS_FILE, results | {"rows": [*ROWS, small]})
    last_line = scoreboard_report.render_summary(folder).splitlines()[-1]
    assert last_line.endswith(f"| {1.3 / 1.1:.3f} |")
