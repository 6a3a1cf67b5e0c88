import json
import os

import pytest

from golf.errors import ArtifactError, InputError
from golf.submission import safe_reader


def refusal(call, *arguments, error=InputError) -> str:
    with pytest.raises(error) as caught:
        call(*arguments)
    return str(caught.value)


def test_a_folder_that_is_missing_empty_or_a_file_is_one_message(tmp_path):
    assert "does not exist" in refusal(safe_reader.scan_folder, tmp_path / "none")
    assert "empty" in refusal(safe_reader.scan_folder, tmp_path)
    (tmp_path / "a").write_text("a")
    assert "is a file" in refusal(safe_reader.scan_folder, tmp_path / "a")


def test_a_folder_of_too_many_files_is_refused_before_it_is_listed_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_reader, "MAX_FILES", 5)
    for number in range(6):
        (tmp_path / str(number)).write_text("")
    assert "more than 5 files" in refusal(safe_reader.scan_folder, tmp_path)


def test_a_link_out_of_the_folder_a_broken_one_and_a_pipe_are_named_and_never_opened(tmp_path):
    secret = tmp_path / "secret.log"
    secret.write_text("a secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "train.log").symlink_to(secret)
    (inside / "up").symlink_to(tmp_path)
    (inside / "gone.log").symlink_to(inside / "nowhere")
    os.mkfifo(inside / "pipe.log")
    result = safe_reader.scan_folder(inside)
    assert result.sizes == {}
    assert result.rejected == (
        "gone.log is a broken link",
        "pipe.log is not a regular file",
        "train.log is a link out of the folder",
        "up is a link out of the folder",
    )


def test_a_link_to_a_file_inside_is_followed_and_dot_folders_are_skipped(tmp_path):
    (tmp_path / "a.log").write_text("four")
    (tmp_path / "b.log").symlink_to(tmp_path / "a.log")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "c.log").write_text("")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.log").write_text("")
    assert safe_reader.scan_folder(tmp_path).sizes == {"a.log": 4, "b.log": 4, "sub/d.log": 0}


def test_of_a_file_over_the_limit_the_head_and_the_tail_are_read_in_whole_lines(tmp_path):
    lines = [f"line {number} of a long log, costs 5 €" for number in range(1000)]
    (tmp_path / "a.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = safe_reader.read_text(safe_reader.scan_folder(tmp_path), "a.log", 1000).splitlines()
    assert result[0] == lines[0]
    assert result[-1] == lines[-1]
    assert set(result) <= set(lines)
    assert len("\n".join(result)) <= 1000


def test_bytes_that_are_not_utf8_are_named_with_file_and_offset(tmp_path):
    (tmp_path / "a.log").write_bytes(b"good\n" * 400 + b"\xff" + b"good\n" * 10)
    listed = safe_reader.scan_folder(tmp_path)
    assert (
        refusal(safe_reader.read_text, listed, "a.log", 1 << 20, error=ArtifactError)
        == "a.log: not UTF-8 at byte 2,000"
    )
    assert refusal(safe_reader.read_text, listed, "a.log", 200, error=ArtifactError) == "a.log: not UTF-8 at byte 2,000"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1]", "expected a JSON object, got list"),
        ("{", "not valid JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "nested more than 32 levels deep"),
        ('{"a": "' + "a" * safe_reader.MAX_JSON_BYTES + '"}', "at most 1,048,576 are allowed"),
    ],
)
def test_json_that_is_damaged_deep_or_huge_is_one_message(tmp_path, content, says):
    (tmp_path / "submission.json").write_text(content)
    assert says in refusal(
        safe_reader.read_json, safe_reader.scan_folder(tmp_path), "submission.json", error=ArtifactError
    )


def test_json_keeps_how_many_places_were_written(tmp_path):
    (tmp_path / "submission.json").write_text('{"val_bpb": 1.08100}')
    assert str(safe_reader.read_json(safe_reader.scan_folder(tmp_path), "submission.json")["val_bpb"]) == "1.08100"
    (tmp_path / "submission.json").write_text(json.dumps({"a": [[[1]]]}))
    assert safe_reader.read_json(safe_reader.scan_folder(tmp_path), "submission.json") == {"a": [[[1]]]}
