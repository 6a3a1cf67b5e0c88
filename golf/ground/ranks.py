"""The ranks of a stage: started through torchrun's own launcher, and one message from all of them at the end."""

import os
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from golf.ground import nodes, signals
from golf.ground.errors import GolfError

WORDS = "GOLF_WORDS"  # in a rank that launch() started: the folder for its last words
SECRET = "GOLF_SECRET"  # in every rank: one random number that all of them share


def first() -> bool:
    """Whether this process is the one that speaks and writes for all ranks."""
    return int(os.environ.get("RANK", os.environ.get(nodes.NODE, 0))) == 0


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def say_last(order: int, words: str) -> None:
    """Leave a rank's last words for the launcher, which prints those of least order: one failure, one message.

    order 0: what the user can mend; 1: what may come from another rank's end, as a traceback; 2: interrupted.
    """
    try:
        Path(os.environ[WORDS], f"{order}-{time.time():.6f}-{os.environ['RANK']}").write_text(words, encoding="utf-8")
    except OSError:  # a full disk
        say(words)


def last_words(folder: str) -> str:
    """Of the ranks' last words, those to print; "" where none left any."""
    found = sorted(Path(folder).iterdir())
    return found[0].read_text(encoding="utf-8") if found else ""


def check_secret() -> None:
    """Raises GolfError when a secret was given by hand that is no hex; its characters are not repeated."""
    given = os.environ.get(SECRET, "00")
    if not given or len(given) % 2 or set(given.lower()) - set("0123456789abcdef"):
        raise GolfError(
            f"{SECRET}: must be an even number of hex digits, got {len(given)} characters that are not; unset it, or "
            f"draw one: openssl rand -hex 16"
        )


def launch(name: str, ranks: int, began: float) -> int:
    """Start ``ranks`` processes of this stage; the exit code of the whole. began: seconds since the epoch.

    When one rank fails the others get SIGTERM, and SIGKILL half a minute later; they die with this process too.
    """
    import logging

    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    place = nodes.place(name, ranks)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // place["nproc_per_node"])))
    os.environ.setdefault(SECRET, secrets.token_hex(16))
    os.environ["GOLF_STARTED"] = str(began)
    os.environ[signals.LAUNCHER] = str(os.getpid())
    for logger in [each for each in logging.root.manager.loggerDict if each.startswith("torch.distributed.elastic")]:
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    config = LaunchConfig(**place, max_restarts=0, monitor_interval=0.2)
    with tempfile.TemporaryDirectory() as words:
        os.environ[WORDS] = words
        try:
            elastic_launch(config, sys.executable)("-m", f"stages.{name}")
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            return 128 + error.sigval
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode < 0:
                killed = signal.Signals(-failure.exitcode).name
                problem = f"rank {rank} was ended by {killed}, and with it all {ranks}"
                raise GolfError(f"{problem}; if memory ran out, fewer {name}.ranks need less") from None
            say(f"{last_words(words)}\n{name}: all {ranks} ranks stopped")
            return failure.exitcode
        except DistError as error:
            raise GolfError(f"the first machine can't be reached, or went away: {str(error).splitlines()[0]}") from None
        finally:
            del os.environ[WORDS]
    return 0
