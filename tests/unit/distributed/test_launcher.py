"""golf/distributed/launcher.py; tests/distributed starts ranks"""

import signal
from types import SimpleNamespace

import pytest

from golf.distributed import launcher
from golf.errors import GolfError


@pytest.fixture
def second_node_env(monkeypatch):
    """The environment of the second of two machines."""
    env = {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "localhost", "PET_MASTER_PORT": "29500"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)


def test_without_torchruns_variables_this_machine_runs_all_ranks():
    config = launcher.make_launch_config("train", 8)
    assert (config["min_nodes"], config["nproc_per_node"], config["rdzv_endpoint"]) == (1, 8, "localhost:0")


def test_the_second_machine_of_two_runs_half_of_the_ranks_and_joins_the_first(second_node_env):
    config = launcher.make_launch_config("train", 8)
    assert (config["max_nodes"], config["nproc_per_node"]) == (2, 4)
    assert (config["rdzv_backend"], config["rdzv_configs"]["rank"]) == ("static", 1)
    assert (config["rdzv_endpoint"], config["run_id"]) == ("localhost:29500", "golf-train")


def test_ranks_that_machines_cannot_share_evenly_are_refused_by_their_key(second_node_env):
    with pytest.raises(GolfError, match=r"train\.ranks: 7 is not a multiple of PET_NNODES=2 machines"):
        launcher.get_local_world_size("train", 7)


@pytest.mark.parametrize(("n_nodes", "node_rank"), [("2", "2"), ("1:2", "0"), ("2", "-1"), ("", "0")])
def test_numbers_of_machines_that_are_none_are_refused(monkeypatch, n_nodes, node_rank):
    monkeypatch.setenv("PET_NNODES", n_nodes)
    monkeypatch.setenv("PET_NODE_RANK", node_rank)
    with pytest.raises(GolfError, match=r"PET_NNODES=.*, PET_NODE_RANK=.*: must be a count and a smaller index"):
        launcher.make_launch_config("train", 2)


def test_machines_without_the_first_ones_address_are_refused_by_the_variable(second_node_env, monkeypatch):
    monkeypatch.delenv("PET_MASTER_PORT")
    with pytest.raises(GolfError, match=r"PET_MASTER_PORT: not set, but PET_NNODES=2 machines need it"):
        launcher.make_launch_config("train", 2)


def test_a_rank_that_a_signal_ended_counts_before_one_that_failed_at_once_for_the_lack_of_it():
    def first(*failures: tuple[int, int]) -> int:
        """failures: exit code and whole seconds of each rank."""
        by_rank = {rank: SimpleNamespace(exitcode=code, timestamp=at_s) for rank, (code, at_s) in enumerate(failures)}
        return launcher.find_first_failure(by_rank)[0]

    assert first((1, 10), (-signal.SIGKILL, 11)) == 1
    assert first((1, 10), (-signal.SIGSEGV, 10)) == 1
    assert first((-signal.SIGTERM, 12), (1, 10)) == 1, "torch ends the others after the first failure"
    assert first((-signal.SIGKILL, 40), (1, 10)) == 1, "and kills those that do not end"
