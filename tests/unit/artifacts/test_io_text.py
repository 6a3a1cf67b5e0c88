"""golf/artifacts/io.py: JSON and tables"""

import re

import pytest

from golf.artifacts import io
from golf.errors import ArtifactError

COLUMNS = {"name": str, "bytes": io.parse_non_negative_float, "lost": io.parse_finite_float}


def test_json_comes_back_as_it_was_and_reads_one_key_a_line(tmp_path):
    obj = {"a": 1.1, "é": ["x", None], "b": {"c": True}}
    io.write_json(tmp_path / "a.json", obj)
    assert io.read_json(tmp_path / "a.json") == obj
    assert '  "a": 1.1,\n  "é": [\n' in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_know_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        io.write_json(tmp_path / "a.json", {"loss": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b"[1]", "expected a JSON object, got list"),
        (b"[" * 100_000, "not valid JSON"),
        (b"1" * 5000, "not valid JSON"),
    ],
)
def test_a_damaged_json_file_is_refused_by_name(tmp_path, data, problem):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"a\.json: {problem}"):
        io.read_json(tmp_path / "a.json")


def test_a_missing_file_is_named_with_a_hint(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("nowhere", "folder"):
        for read in (io.read_json, io.load_tensors, io.read_header):
            with pytest.raises(ArtifactError, match=rf"{name}: not found"):
                read(tmp_path / name)


def test_a_table_has_a_header_and_a_line_a_row(tmp_path):
    io.write_csv(tmp_path / "a.csv", [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}])
    assert (tmp_path / "a.csv").read_text().splitlines() == ["step,loss", "1,0.5", "2,0.25"]


def test_the_requested_columns_of_a_table_come_back_as_written(tmp_path):
    rows = [{"name": "a, b", "bytes": 3, "other": "x", "lost": -0.5}, {"name": "ü", "bytes": 0, "other": "", "lost": 1}]
    io.write_csv(tmp_path / "t.csv", rows)
    expected = [{key: row[key] for key in COLUMNS} for row in rows]
    assert io.read_csv(tmp_path / "t.csv", COLUMNS) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "the table has no rows"),
        (b"name,bytes,lost\n", "the table has no rows"),
        (b"name,byt3s,los\na,1,2\n", "the table has no column bytes, lost"),
        (b"name,bytes,lost\na,1\n", "row 1 has more or fewer cells"),
        (b"name,bytes,lost\na,1,2\na,1,2,3\n", "row 2 has more or fewer cells"),
        (b"name,bytes,lost\na,1x,2\n", "row 1: could not convert"),
        (b"name,bytes,lost\na,-1,2\n", "row 1: -1 is below 0"),
        (b"name,bytes,lost\na,1,nan\n", "row 1: nan is not finite"),
        (b"name,bytes,lost\na,inf,2\n", "row 1: inf is not finite"),
        (b'name,bytes,lost\n"a,1,2\n', "not a CSV table"),
        (b"name,bytes,lost\n\xff,1,2\n", "not a CSV table"),
    ],
)
def test_a_damaged_table_is_named_with_the_problem(tmp_path, text, problem):
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(ArtifactError, match=rf"t\.csv: .*{re.escape(problem)}"):
        io.read_csv(tmp_path / "t.csv", COLUMNS)


def test_a_folder_is_not_a_table(tmp_path):
    with pytest.raises(ArtifactError, match="not a CSV table"):
        io.read_csv(tmp_path, COLUMNS)


def test_rows_are_grouped_in_the_order_of_the_table():
    rows = [{"k": "b", "n": 1}, {"k": "a", "n": 2}, {"k": "b", "n": 3}]
    assert list(io.group_by(rows, "k").items()) == [("b", [rows[0], rows[2]]), ("a", [rows[1]])]
