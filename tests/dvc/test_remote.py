"""Artifacts travel through a DVC remote: an S3-compatible server on this machine, and two clones that share nothing."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.helpers import tiny_project
from tools import ci

METRICS = "artifacts/evaluate/metrics.json"


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """The address of a server with an empty bucket; the user's proxies and keys do not count."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no server listens there
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name, value in {
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "AWS_ACCESS_KEY_ID": "tiny",
        "AWS_SECRET_ACCESS_KEY": "tiny",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    address = f"http://127.0.0.1:{port}"
    with open(tmp_path / "server.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        create_bucket(f"{address}/golf", server, tmp_path / "server.log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def create_bucket(bucket: str, server: subprocess.Popen, log) -> None:
    """Create a bucket as soon as the server answers."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 60  # ends a test that hangs; measures nothing
    while True:
        try:
            direct.open(urllib.request.Request(bucket, method="PUT")).close()
            return
        except urllib.error.URLError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.soak
def test_second_clone_pulls_from_s3_what_the_first_one_trained_and_gets_the_same_score(finished_run, bucket, tmp_path):
    origin = tiny_project.copy_project(finished_run, tmp_path / "origin")
    tiny_project.git(origin, "init", "--quiet")
    tiny_project.dvc(origin, "remote", "add", "store", "s3://golf/runs")
    tiny_project.dvc(origin, "remote", "modify", "store", "endpointurl", bucket)
    tiny_project.dvc(origin, "commit", "--force")
    tiny_project.dvc(origin, "push", "--remote", "store")
    tiny_project.git(origin, "add", "--all")
    tiny_project.git(origin, "commit", "--quiet", "--message", "the finished run")
    tiny_project.git(tmp_path, "clone", "--quiet", str(origin), "clone")
    clone = tmp_path / "clone"
    assert not (clone / "artifacts/compress/model.golf").exists()

    tiny_project.run_command(clone, "bash", "-ec", "dvc pull --remote store $(python -m tools.ci deps)")
    pulled, pushed = (folder / "artifacts/compress/model.golf" for folder in (clone, origin))
    assert pulled.read_bytes() == pushed.read_bytes()
    assert not (clone / "artifacts/train/model.safetensors").exists()
    tiny_project.dvc(clone, "repro", "--force", "--single-item", "evaluate")
    assert "figures agree" in ci.compare_metrics(origin / METRICS, clone / METRICS, tolerance=0.0)
