import subprocess
import tomllib

import pytest

from golf.pipeline import run_record
from tests.helpers.tiny_corpus import ROOT


def test_run_json_records_every_pinned_package():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    pinned = [*project["dependencies"], *project["optional-dependencies"]["gpu"]]
    assert {line.partition("==")[0] for line in pinned} <= set(run_record.RECORDED_PACKAGES)


@pytest.mark.parametrize(("script", "version"), [("echo 580.65.06", "580.65.06"), ("exit 9", None), (None, None)])
def test_the_driver_version_is_null_where_nvidia_smi_fails(tmp_path, monkeypatch, script, version):
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    versions = run_record.get_cuda_versions()
    assert versions.keys() == {"runtime", "cudnn", "driver"}
    assert versions["driver"] == version


def git(*args: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *args], capture_output=True, text=True, check=True).stdout.strip()


def test_git_revision_gives_the_commit_and_whether_it_is_dirty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    assert run_record.get_git_revision() is None, "no commit yet"
    (tmp_path / "a").write_text("one")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert run_record.get_git_revision() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "b").write_text("not tracked")
    assert run_record.get_git_revision()["dirty"] is False
    (tmp_path / "a").write_text("two")
    assert run_record.get_git_revision()["dirty"] is True


def test_changed_run_outputs_do_not_make_the_commit_dirty_but_any_other_file_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "artifacts" / "evaluate").mkdir(parents=True)
    files = ("artifacts/evaluate/metrics.json", "dvc.lock", "params.yaml", "golf.py")
    for file in files:
        (tmp_path / file).write_text("one")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    for file in files[:2]:
        (tmp_path / file).write_text("two")
    (tmp_path / files[0]).unlink()
    assert run_record.get_git_revision()["dirty"] is False
    for file in files[2:]:
        (tmp_path / file).write_text("two")
        assert run_record.get_git_revision()["dirty"] is True, file
        (tmp_path / file).write_text("one")
