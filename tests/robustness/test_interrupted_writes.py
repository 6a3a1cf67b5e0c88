"""A stage that is interrupted, or whose disk is full, while it writes leaves no partial file."""

import errno
import os
import signal
from pathlib import Path

import pytest

from golf.errors import GolfError
from tests.helpers import tiny_project
from tests.helpers.stage_errors import assert_files_readable

WRITTEN_FILES = {  # of each stage, an early file and one of the last
    "fetch": ("train_000001.bin", "manifest.json"),
    "train": ("step_000010.safetensors", "basis_0.9_step_000020.safetensors"),
    "ema": ("model.safetensors", "metrics.json"),
    "ttt": ("model.safetensors", "plan.json"),
    "calibrate": ("hessians.safetensors", "tokens.safetensors"),
    "quantize": ("codes.safetensors", "tensors.csv"),
    "compress": ("model.golf", "sizes.csv"),
    "evaluate": ("plain.safetensors", "running_bpb.csv"),
}
CASES = [(name, file) for name, files in WRITTEN_FILES.items() for file in files]


@pytest.fixture
def before_rename(monkeypatch):
    """Have a function called when a file is written under its temporary name but not yet renamed."""

    def arrange(file: str, action) -> None:
        replace = os.replace

        def act_and_replace(source, target):
            if Path(target).name == file:
                action(source)
            replace(source, target)

        monkeypatch.setattr(os, "replace", act_and_replace)

    return arrange


def read_all(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in tiny_project.list_files(folder)}


@pytest.mark.parametrize(("name", "file"), CASES)
def test_ctrl_c_leaves_no_partial_file_and_names_the_restore_command(expect_stage_error, before_rename, name, file):
    before_rename(file, lambda _: signal.raise_signal(signal.SIGINT))
    assert f"\n{name}: interrupted\n" in expect_stage_error(name, code=130)


def raise_disk_full(path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


@pytest.mark.parametrize(("name", "file"), CASES)
def test_full_disk_leaves_no_partial_file_and_other_stages_untouched(
    project_dir, expect_stage_error, before_rename, name, file
):
    others = {
        path: data for path, data in read_all(project_dir / "artifacts").items() if not path.startswith(f"{name}/")
    }
    before_rename(file, raise_disk_full)
    message = expect_stage_error(name)
    assert "No space left on device, while it ran " in message
    assert "; free some space on the disk" in message
    after = read_all(
        project_dir.rename(project_dir.with_name("after")) / "artifacts"
    )  # val may not be opened where it was
    assert {path: after.get(path) for path in others} == others


def test_a_partial_file_would_be_noticed(project_dir):
    path = project_dir / "artifacts/ema/model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(GolfError):
        assert_files_readable(project_dir / "artifacts/ema")
