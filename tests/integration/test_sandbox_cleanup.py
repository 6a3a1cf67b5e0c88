"""golf/evaluation/sandbox/host.py and worker.py: nothing outlives its room, and no room outlives its judge"""

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

JUDGE = """
import sys
sys.path.insert(0, sys.argv[2])
import strangers as t
from golf.room.room import Room
from pathlib import Path

with Room(t.settings(Path(sys.argv[1])), sys.argv[1]) as room, room.sit() as sitting:
    sitting.begin(stride=4, plan=t.Plan("forever"))
    print(room.process.pid, room.folder, flush=True)
    sitting.score(t.tokens(1), t.tokens(2))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_judge_that_is_killed_or_interrupted_leaves_no_process_and_no_file(external_dir, number):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", JUDGE, str(external_dir), str(ROOT / "tests")]
    judge = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with judge:
        pid, folder = judge.stdout.readline().split()
        worker = psutil.Process(int(pid))
        behind = [worker, *worker.children(recursive=True)]
        assert len(behind) == 2
        assert Path(folder).is_dir()
        judge.send_signal(number)
        judge.wait()
    _, alive = psutil.wait_procs(behind, timeout=20)
    assert alive == []
    deadline = time.time() + 20
    while Path(folder).exists() and time.time() < deadline:
        time.sleep(0.05)
    assert not Path(folder).exists()


def test_a_room_that_is_closed_leaves_nothing(external_dir):
    with Sandbox(evaluate_settings(external_dir), external_dir) as room:
        folder, process = room.folder, room.process
        assert folder.is_dir()
    assert not folder.exists()
    assert process.returncode == -signal.SIGKILL
