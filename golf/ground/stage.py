"""How a stage is entered and left: params checked first, ranks launched, errors in one message, run.json at the end."""

import atexit
import errno
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from importlib import metadata
from pathlib import Path

from golf.ground.errors import GolfError

WORDS = "GOLF_WORDS"  # in a rank that launch() started: the folder for its last words
PACKAGES = ("torch", "numpy", "sentencepiece", "brotli", "safetensors", "flash-attn-4", "flash-attn")


def enter(name: str, main) -> None:
    """Run ``main`` as stage ``name`` and exit: 0, or 1 after one message, or 130 when interrupted.

    main takes a Runtime where the stage's section says how to execute, else nothing. A section with ranks > 1 that was
    not started by torchrun starts its ranks itself.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        from golf.ground import params

        section = getattr(params.read(), name)
        ranks = getattr(section, "ranks", 1)
        if ranks > 1 and "RANK" not in os.environ:
            sys.exit(launch(name, ranks))
        if isinstance(section, params.Execution):
            run_ranked(name, main, section)
        else:
            main()
            write_run(name, started(), None)
    except GolfError as error:
        leave(name, str(error), 1)
    except KeyboardInterrupt:
        leave(name, "interrupted", 130)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or "while writing"
            leave(name, f"no space left on the disk ({where}); free some, then run again", 1)
        if WORDS not in os.environ:
            raise
        say_last(1, traceback.format_exc())
        sys.exit(1)


def run_ranked(name: str, main, section) -> None:
    import torch.distributed as dist

    from golf.ground import runtime

    began = started()
    here = runtime.setup(section, name)
    if here.ranks > 1:
        atexit.register(dist.destroy_process_group)  # after its last words: the other ranks fall over when it parts
    asked = getattr(section, "ranks", 1)
    if here.ranks != asked:
        raise GolfError(f"{name}.ranks: params say {asked}, torchrun started {here.ranks}; make them equal")
    if here.first:
        say(f"{name:<9} {here.note}")
    main(here)
    if here.first:
        write_run(name, began, here)


def leave(name: str, message: str, code: int) -> None:
    """One message on stderr, how to get the last good artifact back, and the exit code."""
    cure = (
        f"DVC clears a stage's outputs before it runs; the last good ones come back with: dvc checkout {name} "
        f"(or, once the mistake is mended, with their figures from the cache: dvc repro)"
    )
    words = f"\n{name}: {message}\n{cure}"
    if WORDS in os.environ:
        say_last(0 if code == 1 else 2, words)
    elif int(os.environ.get("RANK", 0)) == 0 or code == 1:
        say(words)
    sys.exit(code)


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def say_last(order: int, words: str) -> None:
    """Leave a rank's last words for the launcher, which prints those of least order: one failure, one message.

    order 0: what the user can mend; 1: a traceback, which may come from another rank's end; 2: interrupted.
    """
    try:
        Path(os.environ[WORDS], f"{order}-{time.time():.6f}-{os.environ['RANK']}").write_text(words, encoding="utf-8")
    except OSError:  # a full disk
        say(words)


def launch(name: str, ranks: int) -> int:
    """Start ``ranks`` processes of this stage through torchrun's own launcher; the exit code of the whole."""
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    os.environ["GOLF_STARTED"] = str(started())
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=f"golf-{name}-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
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
        finally:
            del os.environ[WORDS]
    return 0


def last_words(folder: str) -> str:
    """Of the ranks' last words, those to print; "" where none left any."""
    found = sorted(Path(folder).iterdir())
    return found[0].read_text(encoding="utf-8") if found else ""


def started() -> float:
    """Seconds since the epoch at which this command's first process started: imports and launch count."""
    import psutil

    return float(os.environ.get("GOLF_STARTED", psutil.Process().create_time()))


def write_run(name: str, began: float, here) -> None:
    """artifacts/<name>/run.json: seconds, hardware, versions, commit. No stage depends on it."""
    from golf.ground import store

    tree = {
        "stage": name,
        "seconds": round(time.time() - began, 3),
        "host": {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "packages": {package: version for package in PACKAGES if (version := installed(package))},
        "git": commit(),
    }
    if here is not None:
        import torch

        tree["runtime"] = here.note
        if here.device.type == "cuda":
            tree["host"]["gpu"] = torch.cuda.get_device_name(here.device)
            tree["host"]["peak_bytes"] = torch.cuda.max_memory_allocated(here.device)
    store.write_json(Path("artifacts") / name / "run.json", tree)


def installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit() -> dict | None:
    """The commit and whether tracked files differ from it; None outside a git checkout."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        ).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return {"commit": head, "dirty": bool(changed.strip())}


def write_clock(name: str, **seconds: float | None) -> None:
    """artifacts/<name>/clock.json: seconds that count against a limit, read by evaluate alone."""
    from golf.ground import store

    rounded = {key: value if value is None else round(value, 3) for key, value in seconds.items()}
    store.write_json(Path("artifacts") / name / "clock.json", rounded)
