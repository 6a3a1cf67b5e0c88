"""Check, before a multi-node stage starts, that every rank was given the same configuration, code and inputs.

Ranks of one machine read the same files. Those of several machines may not, and sums over different texts, weights or
params are wrong in ways that nothing later would detect.
"""

import dataclasses
import hashlib
import json
import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golf.artifacts import lineage
from golf.config import loader
from golf.distributed.launcher import PROBE_SEED_ENV
from golf.errors import GolfError, InputError

if TYPE_CHECKING:
    from torch.distributed import PrefixStore

__all__ = ["check_same_inputs", "check_same_setup", "compare_across_ranks", "compute_short_sha256"]

_RENDEZVOUS_TIMEOUT_S = 120  # ranks start together, but the slowest has to import torch
_MAX_DIFFERENCES_SHOWN = 3  # in one message


def check_same_setup(stage: str) -> None:
    """Raise InputError, on every rank, when params.yaml, the code of ``stage``, torch or the probe seed differ."""
    if not _is_multi_node():
        return
    import torch

    source_hashes = {file: sha256[:12] for file, sha256 in lineage.hash_sources(stage).items()}
    probe_seed_hash = hashlib.sha256(os.environ.get(PROBE_SEED_ENV, "").encode()).hexdigest()[:12]
    other_facts = {"torch": torch.__version__, f"sha256 of {PROBE_SEED_ENV}": probe_seed_hash}
    params = _flatten(dataclasses.asdict(loader.load_config()))
    compare_across_ranks(stage, "setup", params | source_hashes | other_facts)


def check_same_inputs(stage: str, *paths: str | Path) -> None:
    """Raise InputError, on every rank, when a file or split folder of ``paths`` differs or is missing on some rank."""
    if _is_multi_node():
        compare_across_ranks(stage, "inputs", {str(path): compute_short_sha256(path) for path in paths})


def _is_multi_node() -> bool:
    """Return whether this command's ranks run on more than one machine, according to torchrun's environment."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 0)) < int(os.environ.get("WORLD_SIZE", 1)) > 1


def compare_across_ranks(stage: str, topic: str, facts: dict[str, Any]) -> None:
    """Compare every rank's facts with those of rank 0, through torchrun's own store. Facts are JSON values by name.

    Raises InputError, on every rank, when one differs, and GolfError when a rank does not answer.
    """
    import torch.distributed as dist

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise GolfError(f"{stage}.ranks: ranks on several machines must be started by torchrun (docs/distributed.md)")
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    tcp_store, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=_RENDEZVOUS_TIMEOUT_S)))
    prefix_store = dist.PrefixStore(f"{stage} {topic}", tcp_store)
    prefix_store.set(str(rank), json.dumps({"host": socket.gethostname(), "facts": facts}))
    try:
        records = [json.loads(payload) for payload in prefix_store.multi_get([str(item) for item in range(world_size)])]
    except dist.DistError:
        raise GolfError(
            f"{_find_missing_ranks(prefix_store, world_size)} did not answer within {_RENDEZVOUS_TIMEOUT_S} s, or has "
            f"stopped; see the terminal of its machine"
        ) from None
    mismatches = _find_differences([record["facts"] for record in records], [record["host"] for record in records])
    if mismatches:
        listing = "\n".join(f"  {line}" for line in mismatches[:_MAX_DIFFERENCES_SHOWN])
        n_hidden = len(mismatches) - _MAX_DIFFERENCES_SHOWN
        remainder = f"\n  and {n_hidden} more" if n_hidden > 0 else ""
        raise InputError(
            f"the ranks were given different setups or inputs:\n{listing}{remainder}\n"
            f"Make params.yaml, code and inputs equal on all machines, then start {stage} again."
        )


def _find_missing_ranks(prefix_store: "PrefixStore", world_size: int) -> str:
    """Name the ranks that have not reported; the first machine when its store is gone too."""
    import torch.distributed as dist

    try:
        return f"rank {', '.join(str(rank) for rank in range(world_size) if not prefix_store.check([str(rank)]))}"
    except dist.DistError:
        return "the first machine"


def _find_differences(facts: list[dict[str, Any]], hosts: list[str]) -> list[str]:
    """Return a line for each fact on which some rank differs from rank 0. Both lists are indexed by rank."""
    messages = []
    for name in {name: None for rank_facts in facts for name in rank_facts}:
        values = [rank_facts.get(name, "none") for rank_facts in facts]
        differing_rank = next((rank for rank, value in enumerate(values) if value != values[0]), None)
        if differing_rank is not None:
            expected, actual = (f"{values[rank]} on rank {rank} ({hosts[rank]})" for rank in (0, differing_rank))
            messages.append(f"{name}: {expected}, {actual}")
    return messages


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn {"a": {"b": 1}} into {"a.b": 1}."""
    flattened: dict[str, Any] = {}
    for key, value in tree.items():
        flattened |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flattened


def compute_short_sha256(path: str | Path) -> str:
    """Return the start of the sha256 of a file, or of a split folder's index; "not found" when it is missing."""
    try:
        return lineage.hash_artifact(path)[:12]
    except FileNotFoundError:
        return "not found"
