"""Several machines that share a stage's ranks, as torchrun's own environment variables name them."""

import os

from golf.errors import GolfError

_N_NODES_ENV, NODE_RANK_ENV = "PET_NNODES", "PET_NODE_RANK"  # how many machines, and which of them this is
_MASTER_ENVS = ("PET_MASTER_ADDR", "PET_MASTER_PORT")  # of the first
_JOIN_TIMEOUT_S = 900  # what a machine waits for the others to start the stage


def _node_count_and_rank() -> tuple[int, int]:
    """How many machines share a stage's ranks, and which of them this is. Raises GolfError: no such numbers."""
    values = [os.environ.get(_N_NODES_ENV, "1"), os.environ.get(NODE_RANK_ENV, "0")]
    if not all(value.isdecimal() for value in values) or not int(values[1]) < int(values[0]):
        raise GolfError(
            f"{_N_NODES_ENV}={values[0]}, {NODE_RANK_ENV}={values[1]}: must be numbers, as 2 and 0, then 2 and 1"
        )
    return int(values[0]), int(values[1])


def local_world_size(stage: str, world_size: int) -> int:
    """How many of the ranks this machine runs. Raises GolfError where the machines can't have the same number."""
    n_nodes, _ = _node_count_and_rank()
    if world_size % n_nodes:
        raise GolfError(
            f"{stage}.ranks: {world_size} can't be shared out evenly over {_N_NODES_ENV}={n_nodes} machines"
        )
    return world_size // n_nodes


def launch_config(stage: str, world_size: int) -> dict:
    """Where the launcher of each machine meets the others: arguments for torch's LaunchConfig.

    Rank 0 is on the machine that is named first: torch's c10d rendezvous would sort them by their host names.
    Raises GolfError naming the environment variable that several machines lack.
    """
    n_nodes, node_rank = _node_count_and_rank()
    size_kwargs = {"min_nodes": n_nodes, "max_nodes": n_nodes, "nproc_per_node": local_world_size(stage, world_size)}
    if n_nodes == 1:
        single_node_kwargs = {
            "rdzv_backend": "c10d",
            "rdzv_endpoint": "localhost:0",
            "run_id": f"golf-{stage}-{os.getpid()}",
        }
        return size_kwargs | single_node_kwargs
    missing_envs = [name for name in _MASTER_ENVS if not os.environ.get(name)]
    if missing_envs:
        raise GolfError(
            f"{', '.join(missing_envs)}: not set, and {_N_NODES_ENV}={n_nodes} machines need it (docs/machines.md)"
        )
    multi_node_kwargs = {
        "rdzv_backend": "static",
        "rdzv_configs": {"rank": node_rank, "timeout": _JOIN_TIMEOUT_S},
        "run_id": f"golf-{stage}",
    }
    return size_kwargs | multi_node_kwargs | {"rdzv_endpoint": ":".join(os.environ[name] for name in _MASTER_ENVS)}
