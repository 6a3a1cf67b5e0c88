"""A folder of campaigns."""

from pathlib import Path

import pytest

from tests.helpers import campaigns


@pytest.fixture
def campaign_dir(tmp_path, monkeypatch) -> Path:
    """The current folder, a project without DVC."""
    monkeypatch.chdir(campaigns.create_project(tmp_path))
    return tmp_path
