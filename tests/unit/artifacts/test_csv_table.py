"""golf/artifacts/csv_table.py: CSV read with checks"""

import re

import pytest

from golf.artifacts import csv_table, io
from golf.errors import ArtifactError

COLUMNS = {"name": str, "bytes": csv_table.parse_non_negative, "lost": csv_table.parse_finite}


def test_what_was_written_comes_back_as_the_columns_that_are_wanted(tmp_path):
    rows = [{"name": "a, b", "bytes": 3, "other": "x", "lost": -0.5}, {"name": "ü", "bytes": 0, "other": "", "lost": 1}]
    io.write_csv(tmp_path / "t.csv", rows)
    wanted = [{key: row[key] for key in COLUMNS} for row in rows]
    assert csv_table.read_csv(tmp_path / "t.csv", COLUMNS) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "a table without rows"),
        (b"name,bytes,lost\n", "a table without rows"),
        (b"name,byt3s,los\na,1,2\n", "has no column bytes, lost"),
        (b"name,bytes,lost\na,1\n", "row 1 has more or fewer cells"),
        (b"name,bytes,lost\na,1,2\na,1,2,3\n", "row 2 has more or fewer cells"),
        (b"name,bytes,lost\na,1x,2\n", "row 1: could not convert"),
        (b"name,bytes,lost\na,-1,2\n", "row 1: -1 is below 0"),
        (b"name,bytes,lost\na,1,nan\n", "row 1: nan is not finite"),
        (b"name,bytes,lost\na,inf,2\n", "row 1: inf is not finite"),
        (b'name,bytes,lost\n"a,1,2\n', "not a table"),
        (b"name,bytes,lost\n\xff,1,2\n", "not a table"),
    ],
)
def test_a_damaged_table_is_named_with_what_is_wrong(tmp_path, text, said):
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(ArtifactError, match=rf"t\.csv: .*{re.escape(said)}.*dvc checkout"):
        csv_table.read_csv(tmp_path / "t.csv", COLUMNS)


def test_a_folder_in_the_place_of_a_table_is_damage(tmp_path):
    with pytest.raises(ArtifactError, match="not a table"):
        csv_table.read_csv(tmp_path, COLUMNS)


def test_rows_are_grouped_in_the_order_of_the_table():
    rows = [{"k": "b", "n": 1}, {"k": "a", "n": 2}, {"k": "b", "n": 3}]
    assert list(csv_table.group_by(rows, "k").items()) == [("b", [rows[0], rows[2]]), ("a", [rows[1]])]
