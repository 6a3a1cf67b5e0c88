"""golf/evaluation/sandbox: nothing outlives its sandbox, and no sandbox outlives its host"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from golf.evaluation.sandbox.host import Sandbox
from tests.helpers.external_predictors import evaluate_settings
from tests.helpers.tiny_corpus import ROOT


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_host_that_is_killed_or_interrupted_leaves_no_process_and_no_file(external_dir, number):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.helpers.programs.hold_sandbox", str(external_dir)]
    host = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with host:
        pid, folder = host.stdout.readline().split()
        worker = psutil.Process(int(pid))
        processes = [worker, *worker.children(recursive=True)]
        assert len(processes) == 2
        assert Path(folder).is_dir()
        host.send_signal(number)
        host.wait()
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []
    deadline = time.time() + 20
    while Path(folder).exists() and time.time() < deadline:
        time.sleep(0.05)
    assert not Path(folder).exists()


def test_a_closed_sandbox_leaves_nothing(external_dir):
    with Sandbox(evaluate_settings(external_dir), external_dir) as sandbox:
        folder, process = sandbox.folder, sandbox.process
        assert folder.is_dir()
    assert not folder.exists()
    assert process.returncode == -signal.SIGKILL
