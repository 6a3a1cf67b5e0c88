"""golf/distributed/context.py on two ranks"""

import os
import subprocess
import sys

from tests.helpers.forkserver import ForkedPopen
from tests.helpers.programs import collectives
from tests.helpers.tiny_corpus import ROOT


def test_two_ranks_hold_the_same_sums_and_make_the_same_choices(tmp_path):
    ranks = [
        ForkedPopen(
            [sys.executable, collectives.__file__, str(tmp_path / "rendezvous"), str(rank)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=60) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    assert outputs[0] == outputs[1], "equal to the last digit, and nothing on stderr"
    sums = "2 [[3.0, 3.0, 3.0], [3.0, 3.0, 3.0]] 0 [[0.0, 6.0], [3.0, 9.0]] 1.0 3 True"
    assert outputs[0][0] == f"{sums} torch.float32 False\n"
