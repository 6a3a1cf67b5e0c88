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

from golf.ground import lineage, params
from golf.ground.errors import BadInput, GolfError
from golf.ground.ranks import SECRET

WAIT_S = 120  # ranks start together; the slowest has to import torch
SHOWN = 3  # differences in one message


def same_setup(stage: str) -> None:
    """Raises BadInput, on every rank, where params.yaml, the code of ``stage``, torch or the secret differ."""
    if not spread():
        return
    import torch

    code = {file: sha256[:12] for file, sha256 in lineage.code(stage).items()}
    secret = hashlib.sha256(os.environ.get(SECRET, "").encode()).hexdigest()[:12]
    others = {"torch": torch.__version__, f"{SECRET} (sha256 of what all machines export)": secret}
    agree(stage, "setup", flat(dataclasses.asdict(params.read())) | code | others)


def same_inputs(stage: str, *paths) -> None:
    """Raises BadInput, on every rank, where one has another file (or split folder) at one of ``paths``, or none."""
    if spread():
        agree(stage, "inputs", {str(path): digest(path) for path in paths})


def spread() -> bool:
    """Whether the ranks of this command run on more than one machine, as torchrun tells them."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 0)) < int(os.environ.get("WORLD_SIZE", 1)) > 1


def agree(stage: str, topic: str, facts: dict) -> None:
    """Every rank's facts against those of rank 0, through torchrun's own store. facts: what JSON can hold.

    Raises BadInput, on every rank, where one differs; GolfError where a rank does not come.
    """
    import torch.distributed as dist

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise GolfError(f"{stage}.ranks: ranks on several machines are started by torchrun (docs/machines.md)")
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    opened, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=WAIT_S)))
    store = dist.PrefixStore(f"{stage} {topic}", opened)
    store.set(str(rank), json.dumps({"host": socket.gethostname(), "facts": facts}))
    try:
        told = [json.loads(found) for found in store.multi_get([str(each) for each in range(ranks)])]
    except dist.DistError:
        raise GolfError(
            f"{absent(store, ranks)} did not come within {WAIT_S} s, or is gone; its machine's terminal says why"
        ) from None
    wrong = differences([each["facts"] for each in told], [each["host"] for each in told])
    if wrong:
        listed = "\n".join(f"  {line}" for line in wrong[:SHOWN])
        more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise BadInput(
            f"the ranks were not given the same:\n{listed}{more}\n"
            f"Make params.yaml, code and inputs equal on all machines, then start {stage} again."
        )


def absent(store, ranks: int) -> str:
    """Who has not told what it was given; the first machine holds the store."""
    import torch.distributed as dist

    try:
        return f"rank {', '.join(str(each) for each in range(ranks) if not store.check([str(each)]))}"
    except dist.DistError:
        return "the first machine"


def differences(facts: list[dict], hosts: list[str]) -> list[str]:
    """A line for each fact on which some rank differs from rank 0; index: rank."""
    found = []
    for name in {name: None for each in facts for name in each}:
        values = [each.get(name, "none") for each in facts]
        other = next((rank for rank, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            ours, theirs = (f"{values[rank]} on rank {rank} ({hosts[rank]})" for rank in (0, other))
            found.append(f"{name}: {ours}, {theirs}")
    return found


def flat(tree: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    rows = {}
    for key, value in tree.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return rows


def digest(path) -> str:
    """The start of the sha256 of a file, or of a split folder's index; "not found" is an answer too."""
    try:
        return lineage.file_digest(path)[:12]
    except FileNotFoundError:
        return "not found"
