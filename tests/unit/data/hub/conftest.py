"""A fake hub with one small export."""

import pytest

from tests.helpers.hub_exports import make_export
from tests.helpers.hub_server import FakeHub


@pytest.fixture(scope="module")
def export():
    return make_export()


@pytest.fixture
def fake_hub(export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = FakeHub(export.files)
    with server.serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield server
