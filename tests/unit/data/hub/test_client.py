"""golf/data/hub/client.py, and fetch with a hub that can't be used: one message, exit code 1"""

import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from golf.data.hub import client
from golf.data.hub.client import Repository
from golf.errors import UnavailableError
from stages import fetch
from tests.helpers import stage_errors
from tests.helpers.hub_exports import VOCAB_SIZE, hub_config
from tests.helpers.hub_server import COMMIT, REPO, TOKENIZER_PATH, FakeHub
from tests.helpers.stage_processes import write_params

SETTINGS = {"fetch.source": "hub", "fetch.dev_percent": 10.0, "model.vocab_size": VOCAB_SIZE} | {
    f"hub.{key}": getattr(hub_config(), key) for key in ("repo", "revision", "variant", "train_shards", "workers")
}


@pytest.fixture
def hub(export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr("golf.data.hub.client.RETRY_PAUSE_S", 0.0)
    server = FakeHub(export.files)
    with server.serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield server


@pytest.fixture
def expect_fetch_error(tmp_path, capfd):
    """Run fetch with these keys changed, which must fail; returns its one message."""

    def run_fetch(**changes) -> str:
        write_params(tmp_path, SETTINGS | {key.replace("__", "."): value for key, value in changes.items()})
        return stage_errors.run_failing_stage("fetch", capfd)

    with stage_errors.restore_signal_handlers():
        yield run_fetch


def test_a_repository_is_listed_at_the_commit_that_a_branch_stands_for(hub, export):
    repository = Repository.open(hub_config(revision="main"))
    assert (repository.repo, repository.commit) == (REPO, COMMIT)
    assert {path: len(data) for path, data in export.files.items()} == {
        path: remote.size for path, remote in repository.files.items()
    }
    assert repository.files[TOKENIZER_PATH].sha256 == export.tokenizer.sha256


def test_the_stage_fetches_an_export(hub, tmp_path):
    write_params(tmp_path, SETTINGS)
    fetch.main()
    assert {path.name for path in Path("artifacts/fetch").iterdir()} == {
        "train",
        "dev",
        "val",
        "tokenizer.model",
        "manifest.json",
        "metrics.json",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hub__repo": "nobody/nothing"}, "hub.repo: no data set nobody/nothing at http"),
        ({"hub__repo": "no/such/name"}, "hub.repo: 'no/such/name' is not an owner/name of a data set"),
        ({"hub__revision": "v9"}, f"hub.revision: v9 is not a commit, branch or tag of {REPO}"),
        ({"hub__variant": "sp4096"}, f"hub.variant: sp4096 is not in {REPO}, which has sp384"),
        ({"hub__train_shards": 99}, "hub.train_shards: 99, sp384 has 9; set it to that or fewer"),
        ({"model__vocab_size": 512}, "model.vocab_size: 512, but sp384 has 384"),
        ({"fetch__transform": "caseops"}, "fetch.transform: caseops, but the texts of sp384 are encoded with none"),
    ],
)
def test_a_wrong_value_in_the_hub_section_is_rejected_by_its_key(hub, expect_fetch_error, changes, message):
    assert message in expect_fetch_error(**changes)


def test_a_repository_without_a_tokenizer_names_the_file(hub, expect_fetch_error):
    del hub.files[TOKENIZER_PATH]
    assert f"{REPO}/{TOKENIZER_PATH}: the tokenizer is not in the repository" in expect_fetch_error()


def test_a_gated_repository_says_how_to_get_access(hub, expect_fetch_error):
    hub.is_gated = True
    assert f"hub.repo: {REPO} is gated; ask for access on its page, then run with HF_TOKEN" in expect_fetch_error()


def test_a_file_that_is_missing_or_damaged_on_the_way_is_named(hub, expect_fetch_error):
    path = next(path for path in hub.files if "train_000001" in path)
    hub.error_statuses[path] = 404
    assert f"{path} does not exist (404)" in expect_fetch_error()
    hub.error_statuses[path] = 403
    assert f"hub.repo: access to {REPO} is denied (403); run with HF_TOKEN set" in expect_fetch_error()
    del hub.error_statuses[path]
    hub.replaced_content[path] = bytes(len(hub.files[path]))
    assert "fineweb_train_000001.bin: its sha256 is" in expect_fetch_error()
    hub.replaced_content[path] = b""
    assert f"{REPO}/{path}: the hub lists" in expect_fetch_error()


def test_a_full_disk_says_so(hub, expect_fetch_error, export):
    path = Path(f"runs/hub/{REPO.replace('/', '--')}/{COMMIT}/{TOKENIZER_PATH}.incomplete")
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    message = expect_fetch_error()
    assert f"{path}: No space left on device, while it ran " in message
    assert "; free some space on the disk" in message


def test_a_root_that_can_not_be_written_names_the_key(hub, expect_fetch_error, tmp_path):
    (tmp_path / "file").write_text("")
    assert "hub.root: " in expect_fetch_error(hub__root=str(tmp_path / "file"))
    (tmp_path / "root/somebody--exports/lock").mkdir(parents=True)  # it is there, and can't be locked
    assert "exports can't be written (Is a directory); name another folder" in expect_fetch_error(hub__root="root")


def test_a_hub_that_does_not_answer_is_named(expect_fetch_error, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        stderr = expect_fetch_error()
    assert f"{os.environ['HF_ENDPOINT']}/datasets/{REPO} can't be reached (" in stderr
    assert "check the network, then run fetch again" in stderr


def test_offline_mode_says_how_to_leave_it(hub, expect_fetch_error, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "can't be used while HF_HUB_OFFLINE is set; unset it" in expect_fetch_error()


def test_a_server_that_is_no_hub_is_recognized(hub, expect_fetch_error):
    hub.repo_info = lambda: {"hello": "world"}
    assert "does not answer as a hub does" in expect_fetch_error()


def test_a_machine_without_huggingface_hub_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        UnavailableError, match=r"which is not installed; pip install -e '\.\[hub\]', or set fetch\.source"
    ):
        client.import_huggingface_hub()


def test_telemetry_is_off(hub, monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    client.import_huggingface_hub()
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
