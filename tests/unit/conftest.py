"""The artifacts of a small run in the current folder, with their lineage."""

from pathlib import Path

import pytest

from tests.helpers.lineage_files import write_run


@pytest.fixture
def clean_project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_run("dev")
    return tmp_path


@pytest.fixture
def leaked_project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_run("val")
    return tmp_path
