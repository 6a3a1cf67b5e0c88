"""golf/artifacts/json_records.py: types, ranges and digests of JSON files that stages exchange"""

import pytest

from golf.artifacts import io, json_records
from golf.artifacts.json_records import Count, Seconds, Sha256
from golf.errors import ArtifactError

TYPES = {"seconds": Seconds, "n": Count, "bpb": Seconds | None, "sha": Sha256, "rows": list, "more": dict, "name": str}
RECORD = {"seconds": 1.5, "n": 3, "bpb": None, "sha": "0a" * 32, "rows": [1], "more": {"a": None}, "name": "é"}


def test_a_sealed_record_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "a.json"
    json_records.write_sealed(path, RECORD)
    assert json_records.read_sealed(path, **TYPES) == RECORD
    json_records.write_sealed(path, io.read_json(path))
    assert json_records.read_sealed(path, **TYPES) == RECORD, "sealed again, with one digest"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seconds": -9000.0}, "seconds: must be at least 0 and at most 1,000,000,000.0, got -9000.0"),
        ({"seconds": 1e308}, "seconds: must be at least 0 and"),
        ({"seconds": True}, "seconds: must be a number, got True"),
        ({"n": 3.0}, "n: must be a whole number, got 3.0"),
        ({"n": 10**400}, "n: must be at least 0"),
        ({"bpb": "1.2"}, "bpb: must be a number or null, got '1.2'"),
        ({"bpb": -0.5}, "bpb: must be at least 0 and at most 1,000,000,000.0 or null, got -0.5"),
        ({"sha": "0A" * 32}, "sha: must be 64 hex digits, got '0A0A"),
        ({"rows": {}}, "rows: must be a list, got a section"),
        ({"more": []}, "more: must be an object, got []"),
        ({"name": None}, "name: must be text, got nothing (null)"),
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_named_though_the_digest_matches(tmp_path, change, words):
    path = tmp_path / "a.json"
    json_records.write_sealed(path, RECORD | change)
    with pytest.raises(ArtifactError) as caught:
        json_records.read_sealed(path, **TYPES)
    assert str(caught.value).startswith(f"{path}: {words}")


def test_an_edit_of_any_key_shows_also_where_no_type_is_asked_for(tmp_path):
    path = tmp_path / "a.json"
    json_records.write_sealed(path, RECORD)
    sealed = io.read_json(path)
    edits = [sealed | {key: value} for key, value in {"n": 4, "name": "e", "new": 1, "digest": "0" * 64}.items()]
    for edited in [*edits, {key: value for key, value in sealed.items() if key != "rows"}]:
        io.write_json(path, edited)
        with pytest.raises(ArtifactError, match="does not match its digest: it was edited"):
            json_records.read_sealed(path)
    io.write_json(path, RECORD)
    with pytest.raises(ArtifactError, match="lacks digest"):
        json_records.read_sealed(path)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_finite_number_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(f'{{"seconds": {text}}}')
    with pytest.raises(ArtifactError, match=r"no number in JSON|must be a finite number"):
        json_records.read_record(path, seconds=Seconds)
