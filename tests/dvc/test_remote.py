"""Artifacts through a DVC remote: an S3-compatible server on this machine, and two clones that share nothing else."""

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
    """The address of an empty bucket's server; nobody's own proxies and keys count."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    for name in ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name, value in {
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "AWS_ACCESS_KEY_ID": "thimble",
        "AWS_SECRET_ACCESS_KEY": "thimble",
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
        wait_for(f"{address}/golf", server, tmp_path / "server.log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(bucket: str, server: subprocess.Popen, log) -> None:
    """Make a bucket, as soon as the server answers."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 60  # a guard against waiting for ever, not a measurement
    while True:
        try:
            direct.open(urllib.request.Request(bucket, method="PUT")).close()
            return
        except urllib.error.URLError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.soak
def test_a_second_clone_pulls_what_the_first_one_trained_from_s3_and_gives_it_the_same_score(
    finished_run, bucket, tmp_path
):
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

    tiny_project.dvc(clone, "pull", "--remote", "store", *ci.format_deps_to_pull().split())
    theirs, ours = (folder / "artifacts/compress/model.golf" for folder in (origin, clone))
    assert ours.read_bytes() == theirs.read_bytes()
    assert not (clone / "artifacts/train/model.safetensors").exists()
    tiny_project.dvc(clone, "repro", "--force", "--single-item", "evaluate")
    assert "figures agree" in ci.compare_metrics(origin / METRICS, clone / METRICS, tolerance=0.0)
