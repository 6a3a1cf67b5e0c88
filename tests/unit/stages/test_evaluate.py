"""stages/evaluate.py: which rank has the limit, and when the evaluation's time starts"""

import time
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML

from golf.compliance.provenance import ArtifactProvenance
from golf.distributed import launcher
from stages import evaluate
from tests.helpers.tiny_corpus import ROOT

LIMIT_S, ALREADY_RUNNING_S = 600.0, 100.0


class SandboxOpened(Exception):
    """The stage came as far as its sandbox."""


@pytest.fixture
def record_timer(tmp_path, monkeypatch):
    """A function that runs evaluate as a rank up to its sandbox, and returns the timer that the sandbox is given."""
    tree = YAML(typ="safe").load((ROOT / "profiles" / "laptop.yaml").read_text(encoding="utf-8"))
    tree["evaluate"]["limit_s"] = LIMIT_S
    with open(tmp_path / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(tree, file)
    timers = []

    def open_sandbox(cfg, *, code_path, timer, manifest_path):
        timers.append(timer)
        raise SandboxOpened

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "Sandbox", open_sandbox)
    monkeypatch.setattr(ArtifactProvenance, "from_pipeline", lambda *_: SimpleNamespace())
    monkeypatch.setenv(launcher.STARTED_AT_ENV, str(time.time() - ALREADY_RUNNING_S))

    def run(rank: int):
        monkeypatch.setenv("RANK", str(rank))
        with pytest.raises(SandboxOpened):
            evaluate.main()
        return timers.pop()

    return run


def test_only_the_first_ranks_evaluation_has_a_limit(record_timer):
    assert record_timer(rank=0).limit_s == LIMIT_S
    assert record_timer(rank=1).limit_s is None


def test_the_evaluations_time_starts_with_the_command(record_timer):
    timer = record_timer(rank=0)
    assert ALREADY_RUNNING_S <= timer.counted_s() < ALREADY_RUNNING_S + 60
    assert timer.remaining_s() < LIMIT_S - ALREADY_RUNNING_S
