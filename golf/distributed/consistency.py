"""Where ranks on several machines meet before they work: each shows what it was given, and all stop where one differs.

Ranks of one machine read the same files. Those of several may not, and sums over different texts, weights or params are
wrong numbers that nothing later would notice.
"""

import dataclasses
import hashlib
import json
import os
import socket
from datetime import timedelta

from golf.artifacts import lineage
from golf.config import loader
from golf.distributed.launcher import PROBE_SEED_ENV
from golf.errors import GolfError, InputError

_RENDEZVOUS_TIMEOUT_S = 120  # ranks start together; the slowest has to import torch
_MAX_DIFFERENCES_SHOWN = 3  # differences in one message


def check_same_setup(stage: str) -> None:
    """Raises BadInput, on every rank, where params.yaml, the code of ``stage``, torch or the secret differ."""
    if not _is_multi_node():
        return
    import torch

    source_hashes = {file: sha256[:12] for file, sha256 in lineage.source_hashes(stage).items()}
    probe_seed_hash = hashlib.sha256(os.environ.get(PROBE_SEED_ENV, "").encode()).hexdigest()[:12]
    other_facts = {
        "torch": torch.__version__,
        f"{PROBE_SEED_ENV} (sha256 of what all machines export)": probe_seed_hash,
    }
    compare_across_ranks(
        stage, "setup", _flatten(dataclasses.asdict(loader.load_config())) | source_hashes | other_facts
    )


def check_same_inputs(stage: str, *paths) -> None:
    """Raises BadInput, on every rank, where one has another file (or split folder) at one of ``paths``, or none."""
    if _is_multi_node():
        compare_across_ranks(stage, "inputs", {str(path): short_sha256(path) for path in paths})


def _is_multi_node() -> bool:
    """Whether the ranks of this command run on more than one machine, as torchrun tells them."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 0)) < int(os.environ.get("WORLD_SIZE", 1)) > 1


def compare_across_ranks(stage: str, topic: str, facts: dict) -> None:
    """Every rank's facts against those of rank 0, through torchrun's own store. facts: what JSON can hold.

    Raises BadInput, on every rank, where one differs; GolfError where a rank does not come.
    """
    import torch.distributed as dist

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise GolfError(f"{stage}.ranks: ranks on several machines are started by torchrun (docs/machines.md)")
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    tcp_store, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=_RENDEZVOUS_TIMEOUT_S)))
    prefix_store = dist.PrefixStore(f"{stage} {topic}", tcp_store)
    prefix_store.set(str(rank), json.dumps({"host": socket.gethostname(), "facts": facts}))
    try:
        records = [json.loads(payload) for payload in prefix_store.multi_get([str(item) for item in range(world_size)])]
    except dist.DistError:
        raise GolfError(
            f"{_missing_ranks(prefix_store, world_size)} did not come within {_RENDEZVOUS_TIMEOUT_S} s, or is gone; its machine's terminal says why"
        ) from None
    mismatches = _find_differences([each["facts"] for each in records], [each["host"] for each in records])
    if mismatches:
        listing = "\n".join(f"  {line}" for line in mismatches[:_MAX_DIFFERENCES_SHOWN])
        remainder = (
            f"\n  and {len(mismatches) - _MAX_DIFFERENCES_SHOWN} more"
            if len(mismatches) > _MAX_DIFFERENCES_SHOWN
            else ""
        )
        raise InputError(
            f"the ranks were not given the same:\n{listing}{remainder}\n"
            f"Make params.yaml, code and inputs equal on all machines, then start {stage} again."
        )


def _missing_ranks(prefix_store, world_size: int) -> str:
    """Who has not told what it was given; the first machine holds the store."""
    import torch.distributed as dist

    try:
        return f"rank {', '.join(str(rank) for rank in range(world_size) if not prefix_store.check([str(rank)]))}"
    except dist.DistError:
        return "the first machine"


def _find_differences(facts: list[dict], hosts: list[str]) -> list[str]:
    """A line for each fact on which some rank differs from rank 0; index: rank."""
    messages = []
    for name in {name: None for rank_facts in facts for name in rank_facts}:
        values = [each.get(name, "none") for each in facts]
        differing_rank = next((rank for rank, value in enumerate(values) if value != values[0]), None)
        if differing_rank is not None:
            expected, actual = (f"{values[rank]} on rank {rank} ({hosts[rank]})" for rank in (0, differing_rank))
            messages.append(f"{name}: {expected}, {actual}")
    return messages


def _flatten(tree: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flattened = {}
    for key, value in tree.items():
        flattened |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flattened


def short_sha256(path) -> str:
    """The start of the sha256 of a file, or of a split folder's index; "not found" is an answer too."""
    try:
        return lineage.artifact_sha256(path)[:12]
    except FileNotFoundError:
        return "not found"
