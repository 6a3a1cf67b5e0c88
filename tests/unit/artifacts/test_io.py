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
