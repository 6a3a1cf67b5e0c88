"""Several machines that share a stage's ranks, as torchrun's own environment variables name them."""

import os

from golf.ground.errors import GolfError

NODES, NODE = "PET_NNODES", "PET_NODE_RANK"  # how many machines, and which of them this is
ADDRESS = ("PET_MASTER_ADDR", "PET_MASTER_PORT")  # of the first
JOIN_S = 900  # what a machine waits for the others to start the stage


def machines() -> tuple[int, int]:
    """How many machines share a stage's ranks, and which of them this is. Raises GolfError: no such numbers."""
    given = [os.environ.get(NODES, "1"), os.environ.get(NODE, "0")]
    if not all(each.isdecimal() for each in given) or not int(given[1]) < int(given[0]):
        raise GolfError(f"{NODES}={given[0]}, {NODE}={given[1]}: must be numbers, as 2 and 0, then 2 and 1")
    return int(given[0]), int(given[1])


def share(stage: str, ranks: int) -> int:
    """How many of the ranks this machine runs. Raises GolfError where the machines can't have the same number."""
    count, _ = machines()
    if ranks % count:
        raise GolfError(f"{stage}.ranks: {ranks} can't be shared out evenly over {NODES}={count} machines")
    return ranks // count


def place(stage: str, ranks: int) -> dict:
    """Where the launcher of each machine meets the others: arguments for torch's LaunchConfig.

    Rank 0 is on the machine that is named first: torch's c10d rendezvous would sort them by their host names.
    Raises GolfError naming the environment variable that several machines lack.
    """
    count, own = machines()
    counts = {"min_nodes": count, "max_nodes": count, "nproc_per_node": share(stage, ranks)}
    if count == 1:
        here = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": f"golf-{stage}-{os.getpid()}"}
        return counts | here
    lacking = [name for name in ADDRESS if not os.environ.get(name)]
    if lacking:
        raise GolfError(f"{', '.join(lacking)}: not set, and {NODES}={count} machines need it (docs/machines.md)")
    there = {"rdzv_backend": "static", "rdzv_configs": {"rank": own, "timeout": JOIN_S}, "run_id": f"golf-{stage}"}
    return counts | there | {"rdzv_endpoint": ":".join(os.environ[name] for name in ADDRESS)}
