"""A stage that is interrupted or runs out of space in the midst of writing leaves nothing half-written."""

import errno
import os
import signal
from pathlib import Path

import pytest

from golf.errors import GolfError
from tests.helpers import tiny_project
from tests.helpers.stage_errors import assert_files_readable

HALFWAY = {  # of each stage, a file while which is written everything is still open, and one of the last
    "fetch": ("train_000001.bin", "manifest.json"),
    "train": ("step_000010.safetensors", "trace_0.9_step_000020.safetensors"),
    "ema": ("model.safetensors", "metrics.json"),
    "ttt": ("model.safetensors", "plan.json"),
    "calibrate": ("hessians.safetensors", "tokens.safetensors"),
    "quantize": ("codes.safetensors", "tensors.csv"),
    "compress": ("model.golf", "sizes.csv"),
    "evaluate": ("plain.safetensors", "bpb_so_far.csv"),
}
MOMENTS = [(name, file) for name, files in HALFWAY.items() for file in files]


@pytest.fixture
def before_rename(monkeypatch):
    """Have something happen when a file has been written under its temporary name and is not yet renamed."""

    def arrange(file: str, happen) -> None:
        replace = os.replace

        def replaced(source, target):
            if Path(target).name == file:
                happen(source)
            replace(source, target)

        monkeypatch.setattr(os, "replace", replaced)

    return arrange


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in tiny_project.list_files(folder)}


@pytest.mark.parametrize(("name", "file"), MOMENTS)
def test_ctrl_c_leaves_nothing_half_written_and_names_the_way_back(expect_stage_error, before_rename, name, file):
    before_rename(file, lambda _: signal.raise_signal(signal.SIGINT))
    assert f"\n{name}: interrupted\n" in expect_stage_error(name, code=130)


def full_disk(path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


@pytest.mark.parametrize(("name", "file"), MOMENTS)
def test_a_full_disk_leaves_nothing_half_written_and_no_other_stage_touched(
    project_dir, expect_stage_error, before_rename, name, file
):
    others = {
        path: data for path, data in contents(project_dir / "artifacts").items() if not path.startswith(f"{name}/")
    }
    before_rename(file, full_disk)
    assert "no space left on the disk" in expect_stage_error(name)
    after = contents(
        project_dir.rename(project_dir.with_name("after")) / "artifacts"
    )  # val may not be opened where it was
    assert {path: after.get(path) for path in others} == others


def test_half_a_file_would_have_been_noticed(project_dir):
    path = project_dir / "artifacts/ema/model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(GolfError):
        assert_files_readable(project_dir / "artifacts/ema")
