"""golf/artifacts/io.py"""

import errno
import json
import os
import struct
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from golf.artifacts import io
from golf.errors import ArtifactError

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int32, torch.int64)


def entries(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def some_tensors() -> dict[str, torch.Tensor]:
    tensors = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES}
    return tensors | {"empty": torch.empty(0, 4), "scalar": torch.tensor(2.5), "turned": torch.ones(2, 3).t()}


def small_file(path) -> bytes:
    """A tensor file of a few hundred bytes with everything in it that could hide a flipped bit."""
    tensors = {"a": torch.tensor([1.0, -2.0]), "b": torch.tensor([3], dtype=torch.int8)}
    io.save_tensors(path, tensors, kind="codes", meta={"rate": 1e-05, "who": "é", "lineage": {"splits_seen": []}})
    return path.read_bytes()


# writing


def test_a_file_appears_whole_with_its_folder(tmp_path):
    io.write_bytes(tmp_path / "new" / "folder" / "a.bin", b"abc")
    assert (tmp_path / "new" / "folder" / "a.bin").read_bytes() == b"abc"
    assert entries(tmp_path / "new" / "folder") == ["a.bin"]


@pytest.mark.parametrize("failure", [RuntimeError("torn"), KeyboardInterrupt(), SystemExit(143)])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "a.bin"
    io.write_bytes(path, b"good")
    with pytest.raises(type(failure)), io.atomic_write(path) as partial:  # noqa: PT012
        partial.write_bytes(b"half a")
        raise failure
    assert path.read_bytes() == b"good"
    assert entries(tmp_path) == ["a.bin"]


def test_the_old_file_is_seen_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    io.write_bytes(path, b"old")
    with io.atomic_write(path) as partial:
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle):
        done.append(("fsync", os.fstat(handle).st_ino, os.fstat(handle).st_size))
        fsync(handle)

    def noted_replace(old, new):
        done.append(("replace", os.stat(old).st_ino, os.stat(old).st_size))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    io.save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(3)}, kind="x", meta={})
    assert [name for name, *_ in done] == ["fsync", "replace"]
    assert done[0][1:] == done[1][1:], "what was synced is what was renamed"
    assert done[0][2] == (tmp_path / "a.safetensors").stat().st_size


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_tensors_and_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    good = small_file(path)

    def save_file(tensors, partial, metadata):
        partial.write_bytes(good[:50])
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(io, "save_file", save_file)
    with pytest.raises(OSError, match=r"No space left.*a\.safetensors") as caught:
        io.save_tensors(path, {"w": torch.ones(3)}, kind="x", meta={})
    assert caught.value.errno == errno.ENOSPC, "an OSError as from any other write, so that the stage explains it"
    assert path.read_bytes() == good
    assert entries(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("write", [io.write_json, io.write_csv])
def test_a_disk_that_fills_up_at_the_last_byte_leaves_no_file(tmp_path, monkeypatch, write):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a", [{"a": 1}])
    assert entries(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_tensor_file_over_a_real_limit_is_an_os_error_too(tmp_path):
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011, its number is looked at
            io.save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(1000)}, kind="x", meta={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert entries(tmp_path) == []


# JSON and tables


def test_json_comes_back_as_it_was_and_reads_one_key_a_line(tmp_path):
    tree = {"a": 1.1, "é": ["x", None], "b": {"c": True}}
    io.write_json(tmp_path / "a.json", tree)
    assert io.read_json(tmp_path / "a.json") == tree
    assert '  "a": 1.1,\n  "é": [\n' in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_know_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        io.write_json(tmp_path / "a.json", {"loss": value})
    assert entries(tmp_path) == []


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


def test_a_file_that_is_missing_is_refused_by_name_with_the_cure(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("nowhere", "folder"):
        for read in (io.read_json, io.load_tensors, io.read_header):
            with pytest.raises(ArtifactError, match=rf"{name}: not found; .*dvc checkout"):
                read(tmp_path / name)


def test_a_table_has_a_header_and_a_line_a_row(tmp_path):
    io.write_csv(tmp_path / "a.csv", [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}])
    assert (tmp_path / "a.csv").read_text().splitlines() == ["step,loss", "1,0.5", "2,0.25"]


# tensors


def test_tensors_come_back_to_the_bit_in_every_type(tmp_path):
    before, meta = some_tensors(), {"lineage": {"splits_seen": ["train"]}, "rate": 1e-05}
    io.save_tensors(tmp_path / "a.safetensors", before, kind="weights", meta=meta)
    after, told = io.load_tensors(tmp_path / "a.safetensors", kind="weights")
    assert told == meta
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert after[name].shape == tensor.shape
        assert torch.equal(after[name], tensor)


def test_nan_and_infinity_come_back_to_the_bit(tmp_path):
    odd = torch.tensor([float("nan"), float("inf"), -0.0])
    io.save_tensors(tmp_path / "a.safetensors", {"w": odd}, kind="weights", meta={})
    after = io.load_tensors(tmp_path / "a.safetensors")[0]["w"]
    assert torch.equal(after.view(torch.int32), odd.view(torch.int32))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text("abc.", min_size=1), st.lists(st.floats(width=32)), max_size=4),
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers() | st.text(st.characters(codec="utf-8"))),
)
def test_any_tensors_with_any_meta_make_the_round_trip(tmp_path, lists, meta):
    before = {name: torch.tensor(values, dtype=torch.float32) for name, values in lists.items()}
    io.save_tensors(tmp_path / "a.safetensors", before, kind="weights", meta=meta)
    after, told = io.load_tensors(tmp_path / "a.safetensors")
    assert told == meta
    assert {n: t.numpy().tobytes() for n, t in after.items()} == {n: t.numpy().tobytes() for n, t in before.items()}


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    first, second = small_file(tmp_path / "a"), small_file(tmp_path / "b")
    assert first == second


def unseen_flips(folder, flips) -> list:
    """Where a byte of a good file could be changed by one of ``flips`` without being refused by name."""
    good = small_file(folder / "good")
    path, unseen = folder / "bad", []
    for place, byte in enumerate(good):
        for flip in flips:
            path.write_bytes(good[:place] + bytes([byte ^ flip]) + good[place + 1 :])
            if str(path) not in complaint(path):
                unseen.append((place, flip, good[max(0, place - 20) : place + 20]))
    return unseen


def complaint(path) -> str:
    try:
        io.load_tensors(path)
    except ArtifactError as error:
        return str(error)
    return "none"


def test_a_change_of_any_byte_of_a_tensor_file_is_seen(tmp_path):
    """By the bit that turns an e into an E, which numbers and escapes in JSON do not notice."""
    assert unseen_flips(tmp_path, [0x20]) == []


@pytest.mark.soak
def test_a_flip_of_any_bit_of_a_tensor_file_is_seen(tmp_path):
    assert unseen_flips(tmp_path, [1 << bit for bit in range(8)]) == []


def test_a_tensor_file_cut_short_anywhere_is_refused(tmp_path):
    good = small_file(tmp_path / "good")
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
    good = small_file(path)
    path.write_bytes(struct.pack("<Q", claim) + good[8:])
    monkeypatch.setattr(io, "safe_open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ArtifactError, match=f"header of {claim}"):
        io.load_tensors(path)


def test_absurd_tensor_sizes_are_refused_without_allocating_them(tmp_path):
    path = tmp_path / "a.safetensors"
    label = {"kind": "weights", "meta": {}, "sha256": "0" * 64}
    claim = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    header = json.dumps({"__metadata__": {"golf": json.dumps(label, sort_keys=True)}, "w": claim}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    with pytest.raises(ArtifactError, match="damaged"):
        io.load_tensors(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    small_file(tmp_path / "a.safetensors")
    with pytest.raises(ArtifactError, match="holds 'codes', expected 'weights'"):
        io.load_tensors(tmp_path / "a.safetensors", kind="weights")


def test_tensors_of_someone_else_are_refused(tmp_path):
    io.save_file({"w": torch.ones(3)}, tmp_path / "a.safetensors")
    with pytest.raises(ArtifactError, match="no readable golf label"):
        io.load_tensors(tmp_path / "a.safetensors")


def test_a_pickle_is_refused_and_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("run",)

    for name, new_form in (("new.pt", True), ("old.pt", False)):
        torch.save({"w": torch.ones(3), "trap": Trap()}, tmp_path / name, _use_new_zipfile_serialization=new_form)
        with pytest.raises(ArtifactError, match=name):
            io.load_tensors(tmp_path / name)


def test_the_label_is_read_without_the_tensors(tmp_path):
    path = tmp_path / "a.safetensors"
    small_file(path)
    label = io.read_header(path)
    assert label["kind"] == "codes"
    assert label["meta"]["who"] == "é"
    assert label["sha256"] == io.sha256_tensors(io.load_tensors(path)[0], "codes", label["meta"])
