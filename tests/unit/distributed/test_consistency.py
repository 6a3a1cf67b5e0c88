"""golf/distributed/consistency.py"""

import json

import pytest
import torch.distributed as dist

from golf.distributed import consistency
from golf.errors import GolfError, InputError

FACTS = {"train.lr": 0.1, "golf/model/gpt.py": "12ab"}


@pytest.fixture
def two_machines(monkeypatch) -> dist.HashStore:
    """This process is rank 0 on one of two machines. Returns the store in which the other one leaves its facts."""
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "1",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }.items():
        monkeypatch.setenv(name, value)
    store = dist.HashStore()
    monkeypatch.setattr(dist, "rendezvous", lambda url, **_: iter([(store, 0, 2)]))
    return store


def leave(store, facts: dict, topic: str) -> None:
    record = json.dumps({"host": "there", "facts": facts})
    dist.PrefixStore(f"train {topic}", store).set("1", record)


def test_ranks_that_were_given_the_same_go_to_work(two_machines):
    leave(two_machines, FACTS, "setup")
    consistency.compare_across_ranks("train", "setup", FACTS)


def test_a_key_that_differs_between_machines_is_named_with_both_values_and_hosts(two_machines):
    leave(two_machines, FACTS | {"train.lr": 0.2}, "setup")
    with pytest.raises(InputError, match=r"train\.lr: 0\.1 on rank 0 \(.+\), 0\.2 on rank 1 \(there\)") as error:
        consistency.compare_across_ranks("train", "setup", FACTS)
    assert "gpt.py" not in str(error.value)
    assert "Make params.yaml, code and inputs equal on all machines, then start train again." in str(error.value)


def test_a_file_that_one_machine_lacks_is_refused_on_all(two_machines, tmp_path):
    (tmp_path / "weights").write_text("w")
    sha256 = consistency.compute_short_sha256(tmp_path / "weights")
    leave(two_machines, {str(tmp_path / "weights"): "not found"}, "inputs")
    with pytest.raises(InputError, match=rf"weights: {sha256} on rank 0 .*, not found on rank 1 \(there\)"):
        consistency.check_same_inputs("train", tmp_path / "weights")


def test_another_params_yaml_other_code_or_another_probe_seed_are_refused(two_machines, project_dir, monkeypatch):
    facts = {}
    monkeypatch.setattr(consistency, "compare_across_ranks", lambda stage, topic, new_facts: facts.update(new_facts))
    consistency.check_same_setup("train")
    assert facts["train.seed"] == 314
    assert len(facts["golf/training/loop.py"]) == 12
    before = dict(facts)
    monkeypatch.setenv("GOLF_PROBE_SEED", "abcd")
    consistency.check_same_setup("train")
    assert [key for key in facts if facts[key] != before[key]] == ["sha256 of GOLF_PROBE_SEED"]
    assert "abcd" not in str(facts)


def test_ranks_of_one_machine_do_not_wait_for_each_other(monkeypatch, two_machines):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    consistency.check_same_inputs("train", "nowhere")
    consistency.check_same_setup("train")


def test_a_rank_that_does_not_come_is_named(two_machines, monkeypatch):
    two_machines.set_timeout(consistency.timedelta(seconds=0.01))
    with pytest.raises(
        GolfError, match=r"rank 1 did not answer within 120 s, or has stopped; see the terminal of its machine"
    ):
        consistency.compare_across_ranks("train", "setup", FACTS)


def test_ranks_that_something_else_than_torchrun_spread_over_machines_are_refused(two_machines, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE")
    with pytest.raises(GolfError, match=r"train\.ranks: ranks on several machines must be started by torchrun"):
        consistency.compare_across_ranks("train", "setup", FACTS)


def test_a_message_stays_short_however_much_differs(two_machines):
    leave(two_machines, {f"k{n}": 1 for n in range(9)}, "setup")
    with pytest.raises(InputError) as error:
        consistency.compare_across_ranks("train", "setup", {f"k{n}": 0 for n in range(9)})
    assert "k2" in str(error.value)
    assert "k3" not in str(error.value)
    assert "and 6 more" in str(error.value)
