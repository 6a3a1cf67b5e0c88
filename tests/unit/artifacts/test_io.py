import errno
import json
import os
import re
import struct
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from golf.artifacts import io
from golf.errors import ArtifactError

COLUMNS = {"name": str, "bytes": io.parse_non_negative_float, "lost": io.parse_finite_float}
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int32, torch.int64)


def list_names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_tensors() -> dict[str, torch.Tensor]:
    tensors = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES}
    return tensors | {"empty": torch.empty(0, 4), "scalar": torch.tensor(2.5), "transposed": torch.ones(2, 3).t()}


def write_small_file(path) -> bytes:
    """A tensor file of a few hundred bytes with everything that could hide a flipped bit."""
    tensors = {"a": torch.tensor([1.0, -2.0]), "b": torch.tensor([3], dtype=torch.int8)}
    io.save_tensors(path, tensors, kind="codes", meta={"rate": 1e-05, "who": "é", "lineage": {"splits_seen": []}})
    return path.read_bytes()


# writing


def test_a_file_appears_whole_with_its_folder(tmp_path):
    io.write_bytes(tmp_path / "new" / "folder" / "a.bin", b"abc")
    assert (tmp_path / "new" / "folder" / "a.bin").read_bytes() == b"abc"
    assert list_names(tmp_path / "new" / "folder") == ["a.bin"]


@pytest.mark.parametrize("failure", [RuntimeError("torn"), KeyboardInterrupt(), SystemExit(143)])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "a.bin"
    io.write_bytes(path, b"good")
    with pytest.raises(type(failure)), io.atomic_write(path) as tmp_file_path:  # noqa: PT012
        tmp_file_path.write_bytes(b"half a")
        raise failure
    assert path.read_bytes() == b"good"
    assert list_names(tmp_path) == ["a.bin"]


def test_the_old_file_is_seen_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    io.write_bytes(path, b"old")
    with io.atomic_write(path) as tmp_file_path:
        tmp_file_path.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def recording_fsync(handle):
        calls.append(("fsync", os.fstat(handle).st_ino, os.fstat(handle).st_size))
        fsync(handle)

    def recording_replace(old, new):
        calls.append(("replace", os.stat(old).st_ino, os.stat(old).st_size))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    io.save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(3)}, kind="x", meta={})
    assert [name for name, *_ in calls] == ["fsync", "replace"]
    assert calls[0][1:] == calls[1][1:], "what was synced is what was renamed"
    assert calls[0][2] == (tmp_path / "a.safetensors").stat().st_size


def raise_disk_full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_tensors_and_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    good = write_small_file(path)

    def save_file(tensors, partial, metadata):
        partial.write_bytes(good[:50])
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(io, "save_file", save_file)
    with pytest.raises(OSError, match=r"No space left.*a\.safetensors") as error:
        io.save_tensors(path, {"w": torch.ones(3)}, kind="x", meta={})
    assert error.value.errno == errno.ENOSPC, "an OSError as from any other write, so that the stage explains it"
    assert path.read_bytes() == good
    assert list_names(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("write", [io.write_json, io.write_csv])
def test_a_disk_that_fills_up_at_the_last_byte_leaves_no_file(tmp_path, monkeypatch, write):
    monkeypatch.setattr(os, "fsync", raise_disk_full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a", [{"a": 1}])
    assert list_names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_tensor_file_over_a_real_limit_is_an_os_error_too(tmp_path):
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError) as error:  # noqa: PT011, errno is checked below
            io.save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(1000)}, kind="x", meta={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert error.value.errno == errno.EFBIG
    assert list_names(tmp_path) == []


# JSON and tables


def test_json_comes_back_as_it_was_and_reads_one_key_a_line(tmp_path):
    obj = {"a": 1.1, "é": ["x", None], "b": {"c": True}}
    io.write_json(tmp_path / "a.json", obj)
    assert io.read_json(tmp_path / "a.json") == obj
    assert '  "a": 1.1,\n  "é": [\n' in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_know_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        io.write_json(tmp_path / "a.json", {"loss": value})
    assert list_names(tmp_path) == []


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
            with pytest.raises(ArtifactError, match=rf"{name}: not found; .*dvc checkout"):
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
    with pytest.raises(ArtifactError, match=rf"t\.csv: .*{re.escape(problem)}.*dvc checkout"):
        io.read_csv(tmp_path / "t.csv", COLUMNS)


def test_a_folder_is_not_a_table(tmp_path):
    with pytest.raises(ArtifactError, match="not a CSV table"):
        io.read_csv(tmp_path, COLUMNS)


def test_rows_are_grouped_in_the_order_of_the_table():
    rows = [{"k": "b", "n": 1}, {"k": "a", "n": 2}, {"k": "b", "n": 3}]
    assert list(io.group_by(rows, "k").items()) == [("b", [rows[0], rows[2]]), ("a", [rows[1]])]


# tensors


def test_tensors_come_back_to_the_bit_in_every_type(tmp_path):
    before, meta = make_tensors(), {"lineage": {"splits_seen": ["train"]}, "rate": 1e-05}
    io.save_tensors(tmp_path / "a.safetensors", before, kind="weights", meta=meta)
    after, meta_after = io.load_tensors(tmp_path / "a.safetensors", kind="weights")
    assert meta_after == meta
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert after[name].shape == tensor.shape
        assert torch.equal(after[name], tensor)


def test_nan_and_infinity_come_back_to_the_bit(tmp_path):
    special = torch.tensor([float("nan"), float("inf"), -0.0])
    io.save_tensors(tmp_path / "a.safetensors", {"w": special}, kind="weights", meta={})
    after = io.load_tensors(tmp_path / "a.safetensors")[0]["w"]
    assert torch.equal(after.view(torch.int32), special.view(torch.int32))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text("abc.", min_size=1), st.lists(st.floats(width=32)), max_size=4),
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers() | st.text(st.characters(codec="utf-8"))),
)
def test_any_tensors_with_any_meta_make_the_round_trip(tmp_path, lists, meta):
    before = {name: torch.tensor(values, dtype=torch.float32) for name, values in lists.items()}
    io.save_tensors(tmp_path / "a.safetensors", before, kind="weights", meta=meta)
    after, meta_after = io.load_tensors(tmp_path / "a.safetensors")
    assert meta_after == meta
    assert {n: t.numpy().tobytes() for n, t in after.items()} == {n: t.numpy().tobytes() for n, t in before.items()}


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    first, second = write_small_file(tmp_path / "a"), write_small_file(tmp_path / "b")
    assert first == second


def undetected_flips(folder, flips) -> list:
    """Where one of ``flips`` changes a byte of a valid file without an error that names the file."""
    good = write_small_file(folder / "good")
    path, undetected = folder / "bad", []
    for position, byte in enumerate(good):
        for flip in flips:
            path.write_bytes(good[:position] + bytes([byte ^ flip]) + good[position + 1 :])
            if str(path) not in load_error(path):
                undetected.append((position, flip, good[max(0, position - 20) : position + 20]))
    return undetected


def load_error(path) -> str:
    try:
        io.load_tensors(path)
    except ArtifactError as error:
        return str(error)
    return "none"


def test_a_change_of_any_byte_is_detected(tmp_path):
    """Flip the bit that turns e into E, which leaves JSON numbers and escapes valid."""
    assert undetected_flips(tmp_path, [0x20]) == []


@pytest.mark.soak
def test_a_flip_of_any_bit_is_detected(tmp_path):
    assert undetected_flips(tmp_path, [1 << bit for bit in range(8)]) == []


def test_a_tensor_file_cut_short_anywhere_is_refused(tmp_path):
    good = write_small_file(tmp_path / "good")
    path = tmp_path / "cut"
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(ArtifactError, match="cut"):
            io.load_tensors(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(ArtifactError):
        io.load_tensors(path)


@pytest.mark.parametrize("claim", [0, 1, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_an_absurd_length_of_the_header_is_refused_before_anything_is_read(tmp_path, claim, monkeypatch):
    path = tmp_path / "a.safetensors"
    good = write_small_file(path)
    path.write_bytes(struct.pack("<Q", claim) + good[8:])
    monkeypatch.setattr(io, "safe_open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ArtifactError, match=f"header of {claim}"):
        io.load_tensors(path)


def test_absurd_tensor_sizes_are_refused_without_allocating_them(tmp_path):
    path = tmp_path / "a.safetensors"
    golf_header = {"kind": "weights", "meta": {}, "sha256": "0" * 64}
    claim = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    header = json.dumps({"__metadata__": {"golf": json.dumps(golf_header, sort_keys=True)}, "w": claim}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    with pytest.raises(ArtifactError, match="damaged"):
        io.load_tensors(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    write_small_file(tmp_path / "a.safetensors")
    with pytest.raises(ArtifactError, match="holds 'codes', expected 'weights'"):
        io.load_tensors(tmp_path / "a.safetensors", kind="weights")


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    io.save_file({"w": torch.ones(3)}, tmp_path / "a.safetensors")
    with pytest.raises(ArtifactError, match="no valid golf header"):
        io.load_tensors(tmp_path / "a.safetensors")


def test_a_pickle_is_refused_and_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("run",)

    for name, new_form in (("new.pt", True), ("old.pt", False)):
        torch.save({"w": torch.ones(3), "trap": Trap()}, tmp_path / name, _use_new_zipfile_serialization=new_form)
        with pytest.raises(ArtifactError, match=name):
            io.load_tensors(tmp_path / name)


def test_the_header_is_read_without_the_tensors(tmp_path):
    path = tmp_path / "a.safetensors"
    write_small_file(path)
    header = io.read_header(path)
    assert header["kind"] == "codes"
    assert header["meta"]["who"] == "é"
    assert header["sha256"] == io.sha256_tensors(io.load_tensors(path)[0], "codes", header["meta"])


def test_replacing_together_leaves_other_files_of_the_folder_alone(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "a").write_text("old")
    with io.replace_together(tmp_path / "a", tmp_path / "b") as work_dir:
        (work_dir / "a").write_text("new")
        (work_dir / "b").mkdir()
        assert (tmp_path / "a").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "run.json"]
    assert (tmp_path / "a").read_text() == "new"
