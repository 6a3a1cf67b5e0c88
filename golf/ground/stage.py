"""How a stage is entered and left: alone at its work, params checked first, ranks launched, val behind a door, errors
in one message, run.json at the end.
"""

import atexit
import contextlib
import errno
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path

from golf.ground import lock, nodes, signals
from golf.ground.errors import BadMethod, GolfError
from golf.ground.ranks import SECRET, WORDS, check_secret, first, launch, say, say_last

__all__ = ["SECRET", "enter", "say", "started", "write_clock"]
PACKAGES = (  # what pyproject.toml pins, and what may stand in for it; tests and lint aside
    "torch",
    "triton",
    "numpy",
    "sentencepiece",
    "brotli",
    "constriction",
    "safetensors",
    "ruamel.yaml",
    "dvc",
    "psutil",
    "zstandard",
    "scipy",
    "flash-attn-4",
    "flash-attn",
    "huggingface-hub",
)
VAL = "artifacts/fetch/val"
WRITTEN = ("artifacts", "dvc.lock")  # what a run changes among the files that Git tracks


def enter(name: str, main, *, apart: bool = False, outs: tuple[str, ...] = ()) -> None:
    """Run ``main`` as stage ``name`` and exit: 0, or 1 after one message, or 128 and the signal's number.

    main takes a Runtime where the stage's section says how to execute, else nothing. A section with ranks > 1 that was
    not started by torchrun starts its ranks itself. apart: the model runs in processes that main starts; it takes
    nothing and returns their Runtime. outs: what an earlier run wrote that could be taken for this one's if it fails;
    removed before anything else, as DVC removes them. A second process of a stage in one folder is refused.
    """
    signals.answer()
    signals.watch_parents()
    try:
        with lock.held(Path("runs") / name / "lock", name) if leads() else contextlib.nullcontext():
            if first():
                remove([*outs, *Path("artifacts", name).rglob("*.partial")])  # of a process that was killed
            run(name, main, apart)
    except lock.Busy as error:  # it has changed nothing
        leave(name, str(error), 1, cure=False)
    except BadMethod as error:  # in a rank, maybe because another's method is gone
        leave(name, str(error), 1, order=1)
    except GolfError as error:
        leave(name, str(error), 1)
    except KeyboardInterrupt:
        leave(name, "interrupted", 130, order=2)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or "while writing"
            leave(name, f"no space left on the disk ({where}); free some, then run again", 1)
        if WORDS not in os.environ:
            raise
        signals.last_act()
        say_last(1, traceback.format_exc())
        sys.exit(1)


def leads() -> bool:
    """Whether this process answers for the whole stage: no launcher of ours is above it, and it is the first rank."""
    return WORDS not in os.environ and first()


def run(name: str, main, apart: bool) -> None:
    from golf.ground import lineage, meeting, params, sections

    check_secret()
    section = getattr(params.read(), name)
    ranks = getattr(section, "ranks", 1)
    if ranks > 1 and "RANK" not in os.environ:
        from golf.ground import machine

        here = nodes.share(name, ranks)
        machine.choose_device(section.device, name, here - 1)  # refused once, and not by every rank
        sys.exit(launch(name, ranks, started()))
    if not reads_val(name, section):
        guard(name, VAL)
    lineage.code(name)  # now, as it was loaded, and not as somebody has edited it by the time of writing
    meeting.same_setup(name)
    if isinstance(section, sections.Execution) and not apart:
        run_ranked(name, main, section)
    else:
        expect_ranks(name, int(os.environ.get("WORLD_SIZE", 1)), ranks)
        here = main()
        if here is None or here.first:
            write_run(name, started(), here)


def remove(outs) -> None:
    """Files and folders that may be there; a link is removed, what it leads to is not."""
    for path in map(Path, outs):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def reads_val(name: str, section) -> bool:
    """fetch makes it, evaluate is what it is for, and ttt may ask for it: lineage then carries val to the verdict."""
    return name in ("fetch", "evaluate") or getattr(section, "stream", None) == "val"


def guard(name: str, folder: str) -> None:
    """From here on this process can't open a file below ``folder``: GolfError, naming stage and file (C1-e).

    An audit hook on Python's own opens, and it can't be taken off again. It stops mistakes, such as a wrong default,
    by which val reached training in the contest (#2127); it is no sandbox against native code.
    """
    closed = os.path.abspath(folder) + os.sep
    last = os.path.basename(folder)

    def refuse(event: str, details: tuple) -> None:
        if event != "open" or not isinstance(details[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(details[0])
        if last in path and os.path.abspath(path).startswith(closed):
            raise GolfError(f"{name} may not open {path}: {last} is for evaluate alone (C1); read train or dev")

    sys.addaudithook(refuse)


def run_ranked(name: str, main, section) -> None:
    import torch.distributed as dist

    from golf.ground import machine

    began = started()
    here = machine.setup(section, name)
    if here.ranks > 1:
        atexit.register(dist.destroy_process_group)  # after its last words: the other ranks fall over when it parts
    expect_ranks(name, here.ranks, getattr(section, "ranks", 1))
    if here.first:
        say(f"{name:<9} {here.note}")
    main(here)
    if here.first:
        write_run(name, began, here)


def expect_ranks(name: str, found: int, asked: int) -> None:
    if found != asked:
        raise GolfError(f"{name}.ranks: params say {asked}, torchrun started {found}; make them equal")


def leave(name: str, message: str, code: int, *, cure: bool = True, order: int = 0) -> None:
    """One message on stderr, how to get the last good artifact back, and the exit code. order: for ``say_last``."""
    way_back = (
        f"\nDVC clears a stage's outputs before it runs; the last good ones come back with: dvc checkout {name} "
        f"(or, once the mistake is mended, with their figures from the cache: dvc repro)"
    )
    words = f"\n{name}: {message}{way_back if cure else ''}"
    if WORDS in os.environ:
        signals.last_act()
        say_last(order, words)
    elif first() or code == 1:
        say(words)
    sys.exit(code)


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
        "hardware": hardware(here),
        "packages": {package: version for package in PACKAGES if (version := installed(package))},
        "git": commit(),
    }
    if here is not None:
        import torch

        tree["runtime"] = here.note
        if here.device.type == "cuda":
            tree["host"]["peak_bytes"] = torch.cuda.max_memory_allocated(here.device)
            tree["cuda"] = cuda_versions()
    store.write_json(Path("artifacts") / name / "run.json", tree)


def hardware(here) -> str:
    """What the work ran on, as ``8 × NVIDIA H100 80GB HBM3`` or ``2 × CPU core (x86_64)``. here: a Runtime, or None."""
    if here is not None and here.device.type == "cuda":
        import torch

        return f"{here.ranks} × {torch.cuda.get_device_name(here.device)}"
    return f"{os.cpu_count()} × CPU core ({platform.machine()})"


def cuda_versions() -> dict[str, str | int | None]:
    """CUDA as torch was built for it, cuDNN, and the driver of this machine (None: not to be had)."""
    import torch

    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    except (FileNotFoundError, subprocess.CalledProcessError):
        lines = []
    return {
        "runtime": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": lines[0].strip() if lines else None,
    }


def installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit() -> dict | None:
    """The commit and whether tracked files differ from it; None outside a git checkout.

    artifacts/ and dvc.lock don't count: a run changes them itself, and lineage pins what it read there.
    """
    asked = ["git", "status", "--porcelain", "-uno", "--", ":/", *(f":(exclude){path}" for path in WRITTEN)]
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return {"commit": head, "dirty": bool(changed.strip())}


def write_clock(name: str, here=None, **seconds: float | None) -> None:
    """artifacts/<name>/clock.json: seconds that count against a limit, read by evaluate alone, and what they were
    measured on. here: the Runtime that spent them; None where none were spent.
    """
    from golf.ground import store

    tree = {key: value if value is None else round(value, 3) for key, value in seconds.items()}
    measured = {} if here is None else {"hardware": hardware(here)}
    store.write_json(Path("artifacts") / name / "clock.json", tree | measured)
