"""Launch the ranks of a stage, on one machine or several, and report one error for all of them.

Ranks are started through torchrun's own launcher. Several machines that share a stage's ranks are described by
torchrun's environment variables (docs/distributed.md).
"""

import os
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golf.errors import GolfError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

__all__ = [
    "ERROR_DIR_ENV",
    "LAUNCHER_PID_ENV",
    "PROBE_SEED_ENV",
    "STARTED_AT_ENV",
    "find_first_failure",
    "get_local_world_size",
    "is_main_process",
    "launch_ranks",
    "log",
    "make_launch_config",
    "report_fatal",
    "validate_probe_seed",
]

ERROR_DIR_ENV = "GOLF_ERROR_DIR"  # in a rank that was launched here: the folder for its fatal error
PROBE_SEED_ENV = "GOLF_PROBE_SEED"  # in every rank: the seed of the evaluator's probes, in hex
LAUNCHER_PID_ENV = "GOLF_LAUNCHER_PID"  # in a rank that was launched here: the launcher's process id
STARTED_AT_ENV = "GOLF_PROCESS_STARTED_AT"  # in a rank: when the command started, in seconds since the epoch
_N_NODES_ENV, _NODE_RANK_ENV = "PET_NNODES", "PET_NODE_RANK"  # how many machines, and which one this is
_MASTER_ENVS = ("PET_MASTER_ADDR", "PET_MASTER_PORT")  # of the first machine
_JOIN_TIMEOUT_S = 900  # how long a machine waits for the others to start the stage
_SAME_MOMENT_S = 5  # within which one rank's end may have made another fail


def is_main_process() -> bool:
    """Return whether this process prints and writes for all ranks."""
    return int(os.environ.get("RANK", os.environ.get(_NODE_RANK_ENV, 0))) == 0


def log(message: str) -> None:
    """Print a line to stderr at once."""
    print(message, file=sys.stderr, flush=True)


def report_fatal(priority: int, message: str) -> None:
    """Leave this rank's fatal error for the launcher, which prints only the one of lowest priority.

    Priority 0 is an error that the user can fix, 1 one that another rank's exit may have caused, such as a traceback,
    and 2 an interruption.
    """
    try:
        Path(os.environ[ERROR_DIR_ENV], f"{priority}-{time.time():.6f}-{os.environ['RANK']}").write_text(
            message, encoding="utf-8"
        )
    except OSError:  # a full disk
        log(message)


def _read_first_fatal(error_dir: str) -> str:
    """Return the ranks' fatal error of lowest priority; "" when no rank left one."""
    paths = sorted(Path(error_dir).iterdir())
    return paths[0].read_text(encoding="utf-8") if paths else ""


def validate_probe_seed() -> None:
    """Raise GolfError when the user's probe seed is not hex. The message does not repeat it."""
    value = os.environ.get(PROBE_SEED_ENV, "00")
    if not value or len(value) % 2 or set(value.lower()) - set("0123456789abcdef"):
        raise GolfError(
            f"{PROBE_SEED_ENV}: must be an even number of hex digits, got {len(value)} characters that are not; unset "
            f"it, or generate one: openssl rand -hex 16"
        )


def launch_ranks(stage: str, world_size: int, started_at: float) -> int:
    """Start this machine's share of ``world_size`` ranks of a stage, wait for them, and return the exit code.

    ``started_at`` is when the command started, in seconds since the epoch. When one rank fails the others get SIGTERM,
    and SIGKILL half a minute later; all ranks die with this process.
    """
    import logging

    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    launch_kwargs = make_launch_config(stage, world_size)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // launch_kwargs["nproc_per_node"])))
    os.environ.setdefault(PROBE_SEED_ENV, secrets.token_hex(16))
    os.environ[STARTED_AT_ENV] = str(started_at)
    os.environ[LAUNCHER_PID_ENV] = str(os.getpid())
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    launch_cfg = LaunchConfig(**launch_kwargs, max_restarts=0, monitor_interval=0.2)
    with tempfile.TemporaryDirectory() as error_dir:
        os.environ[ERROR_DIR_ENV] = error_dir
        try:
            elastic_launch(launch_cfg, sys.executable)("-m", f"stages.{stage}")
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            return 128 + error.sigval
        except ChildFailedError as error:
            rank, failure = find_first_failure(error.failures)
            if failure.exitcode < 0:
                signal_name = signal.Signals(-failure.exitcode).name
                raise GolfError(
                    f"rank {rank} was killed by {signal_name}, so all {world_size} ranks were stopped; if memory ran "
                    f"out, lower {stage}.ranks"
                ) from None
            log(f"{_read_first_fatal(error_dir)}\n{stage}: all {world_size} ranks stopped")
            return failure.exitcode
        except DistError as error:
            first_line = str(error).splitlines()[0]
            raise GolfError(
                f"{_MASTER_ENVS[0]}: the first machine can't be reached, or has stopped: {first_line}; check that it "
                "runs and that its port is open"
            ) from None
        finally:
            del os.environ[ERROR_DIR_ENV]
    return 0


def find_first_failure(failures: "dict[int, ProcessFailure]") -> "tuple[int, ProcessFailure]":
    """Return the rank whose failure stopped the others, from torch's record, whose times are whole seconds.

    A rank that loses its peer fails at once, so one that a signal ended counts before one that failed then.
    torch ends the other ranks with SIGTERM, and half a minute later with SIGKILL.
    """

    def is_by_signal(failure: "ProcessFailure") -> bool:
        return failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM

    first_s = min(failure.timestamp for failure in failures.values())
    candidates = {rank: failure for rank, failure in failures.items() if failure.timestamp - first_s < _SAME_MOMENT_S}
    return min(candidates.items(), key=lambda item: (not is_by_signal(item[1]), item[1].timestamp))


def get_local_world_size(stage: str, world_size: int) -> int:
    """Return how many of the ranks this machine runs. Raises GolfError when they don't divide among the machines."""
    n_nodes, _ = _get_node_count_and_rank()
    if world_size % n_nodes:
        raise GolfError(
            f"{stage}.ranks: {world_size} is not a multiple of {_N_NODES_ENV}={n_nodes} machines; "
            f"set {stage}.ranks to a multiple of it"
        )
    return world_size // n_nodes


def make_launch_config(stage: str, world_size: int) -> dict[str, Any]:
    """Return the keyword arguments of torch's LaunchConfig for this machine.

    On several machines rank 0 runs on the first one: the rendezvous is static, because torch's c10d rendezvous orders
    machines by host name. Raises GolfError naming the environment variable that is missing or malformed.
    """
    n_nodes, node_rank = _get_node_count_and_rank()
    size_kwargs = {
        "min_nodes": n_nodes,
        "max_nodes": n_nodes,
        "nproc_per_node": get_local_world_size(stage, world_size),
    }
    if n_nodes == 1:
        return size_kwargs | {
            "rdzv_backend": "c10d",
            "rdzv_endpoint": "localhost:0",
            "run_id": f"golf-{stage}-{os.getpid()}",
        }
    missing_envs = [name for name in _MASTER_ENVS if not os.environ.get(name)]
    if missing_envs:
        raise GolfError(
            f"{', '.join(missing_envs)}: not set, but {_N_NODES_ENV}={n_nodes} machines need it (docs/distributed.md)"
        )
    return size_kwargs | {
        "rdzv_backend": "static",
        "rdzv_configs": {"rank": node_rank, "timeout": _JOIN_TIMEOUT_S},
        "rdzv_endpoint": ":".join(os.environ[name] for name in _MASTER_ENVS),
        "run_id": f"golf-{stage}",
    }


def _get_node_count_and_rank() -> tuple[int, int]:
    """Return how many machines share the ranks, and which one this is. Raises GolfError when they are malformed."""
    values = [os.environ.get(_N_NODES_ENV, "1"), os.environ.get(_NODE_RANK_ENV, "0")]
    if not all(value.isdecimal() for value in values) or not int(values[1]) < int(values[0]):
        raise GolfError(
            f"{_N_NODES_ENV}={values[0]}, {_NODE_RANK_ENV}={values[1]}: must be a count and a smaller index, such as "
            f"2 and 0 on the first machine, 2 and 1 on the second"
        )
    return int(values[0]), int(values[1])
