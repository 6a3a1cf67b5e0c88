"""The ranks of a stage: started through torchrun's own launcher, and one message from all of them at the end."""

import os
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from golf.distributed import nodes
from golf.errors import GolfError
from golf.pipeline import signals

ERROR_DIR_ENV = "GOLF_WORDS"  # in a rank that launch() started: the folder for its last words
PROBE_SEED_ENV = "GOLF_SECRET"  # in every rank: one random number that all of them share


def is_main_process() -> bool:
    """Whether this process is the one that speaks and writes for all ranks."""
    return int(os.environ.get("RANK", os.environ.get(nodes.NODE_RANK_ENV, 0))) == 0


def log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def report_fatal(priority: int, message: str) -> None:
    """Leave a rank's last words for the launcher, which prints those of least order: one failure, one message.

    order 0: what the user can mend; 1: what may come from another rank's end, as a traceback; 2: interrupted.
    """
    try:
        Path(os.environ[ERROR_DIR_ENV], f"{priority}-{time.time():.6f}-{os.environ['RANK']}").write_text(
            message, encoding="utf-8"
        )
    except OSError:  # a full disk
        log(message)


def _read_first_fatal(error_dir: str) -> str:
    """Of the ranks' last words, those to print; "" where none left any."""
    paths = sorted(Path(error_dir).iterdir())
    return paths[0].read_text(encoding="utf-8") if paths else ""


def validate_probe_seed() -> None:
    """Raises GolfError when a secret was given by hand that is no hex; its characters are not repeated."""
    value = os.environ.get(PROBE_SEED_ENV, "00")
    if not value or len(value) % 2 or set(value.lower()) - set("0123456789abcdef"):
        raise GolfError(
            f"{PROBE_SEED_ENV}: must be an even number of hex digits, got {len(value)} characters that are not; unset it, or "
            f"draw one: openssl rand -hex 16"
        )


def launch_ranks(stage: str, world_size: int, started_at: float) -> int:
    """Start ``ranks`` processes of this stage; the exit code of the whole. began: seconds since the epoch.

    When one rank fails the others get SIGTERM, and SIGKILL half a minute later; they die with this process too.
    """
    import logging

    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    launch_kwargs = nodes.launch_config(stage, world_size)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // launch_kwargs["nproc_per_node"])))
    os.environ.setdefault(PROBE_SEED_ENV, secrets.token_hex(16))
    os.environ["GOLF_STARTED"] = str(started_at)
    os.environ[signals.LAUNCHER_PID_ENV] = str(os.getpid())
    for logger in [
        logger_name
        for logger_name in logging.root.manager.loggerDict
        if logger_name.startswith("torch.distributed.elastic")
    ]:
        logging.getLogger(logger).setLevel(logging.CRITICAL)
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
            rank, failure = error.get_first_failure()
            if failure.exitcode < 0:
                signal_name = signal.Signals(-failure.exitcode).name
                problem = f"rank {rank} was ended by {signal_name}, and with it all {world_size}"
                raise GolfError(f"{problem}; if memory ran out, fewer {stage}.ranks need less") from None
            log(f"{_read_first_fatal(error_dir)}\n{stage}: all {world_size} ranks stopped")
            return failure.exitcode
        except DistError as error:
            raise GolfError(f"the first machine can't be reached, or went away: {str(error).splitlines()[0]}") from None
        finally:
            del os.environ[ERROR_DIR_ENV]
    return 0
