"""The whole project on a thimble of text: a runnable copy with tiny parameters, its stages, dvc and git inside it."""

import fcntl
import importlib
import inspect
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

from conftest import ROOT, thimble_documents
from ruamel.yaml import YAML

from golf.ground import machine, params

STAGES = ("fetch", "train", "ema", "ttt", "calibrate", "quantize", "compress", "evaluate")
PLOTS = (".dvc/plots/bits_by_column.json", ".dvc/plots/rate_distortion.json")
COPIED = ("dvc.yaml", ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", ".github/workflows/ci.yml", *PLOTS)
DVC = str(Path(sys.executable).with_name("dvc"))
EXECUTION = {"device": "cpu", "compile": "off", "dtype": "float32"}
TINY = {
    "fetch": {"source": "files", "path": "texts", "val_percent": 15, "dev_percent": 15, "shard_tokens": 4000},
    "model": {
        "vocabulary": 320,
        "layers": 3,
        "width": 32,
        "heads": 4,
        "kv_heads": 2,
        "mlp_width": 64,
        "context": 32,
        "rope_dims": 4,
        "loop_start": 1,
        "loop_end": 1,
        "loop_passes": 2,
        "parallel_from": 2,
    },
    "train": EXECUTION
    | {
        "limit_s": None,
        "reserve_s": 0.0,
        "steps": 20,
        "batch_tokens": 512,
        "micro_tokens": 256,
        "momentum_steps": 10,
        "ema_decays": [0.9, 0.9965],
        "ema_traces": [0.9, 0.98],
        "ema_snapshots": 3,
        "ema_snapshot_every": 5,
        "checkpoint_every": 10,
        "dev_every": 10,
        "log_every": 5,
    },
    "ema": EXECUTION | {"decay": 0.9, "score_tokens": 1024},
    "ttt": EXECUTION
    | {"stride": 16, "score_tokens": 1024, "chunk_tokens": 512, "batch_tokens": 256, "epochs": 1, "lr": 0.01},
    "prequant": {"epochs": 4, "lr": 0.005, "freeze": 1, "batch_tokens": 256, "chunk_tokens": 256},
    "calibrate": EXECUTION | {"batches": 2, "batch_tokens": 512, "micro_tokens": 256, "sensitivity_tokens": 512},
    "quantize": {"min_weights": 256},
    "compress": {"quality": 5, "limit_bytes": 100_000},
    "evaluate": EXECUTION | {"stride": 16, "score_tokens": 1024},
}


def lay_out(folder: Path) -> Path:
    """The project's code and graph, params.yaml at thimble size, and texts/, in a new ``folder``."""
    for package in ("golf", "stages"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / "profiles" / "laptop.yaml", folder / "params.yaml")
    turn(folder, {f"{section}.{key}": value for section, keys in TINY.items() for key, value in keys.items()})
    (folder / "texts").mkdir()
    for number, text in enumerate(thimble_documents()):
        (folder / "texts" / f"{number:02}.txt").write_text(text, encoding="utf-8")
    return folder


def turn(folder: Path, changes: dict[str, object]) -> None:
    """Set dotted keys of the folder's params.yaml, each of which must exist."""
    file = folder / "params.yaml"
    tree = YAML(typ="safe").load(file)
    for dotted, value in changes.items():
        section, key = dotted.split(".")
        assert key in tree[section], dotted
        tree[section][key] = value
    with open(file, "w", encoding="utf-8") as out:
        YAML(typ="safe").dump(tree, out)


def environment(folder: Path) -> dict[str, str]:
    """One thread, this interpreter's dvc and python first, and nobody's own settings of git and dvc."""
    home = folder.parent / "nobody"
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "thimble",
        "GIT_AUTHOR_EMAIL": "thimble@example.org",
        "GIT_COMMITTER_NAME": "thimble",
        "GIT_COMMITTER_EMAIL": "thimble@example.org",
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(home / "system"),
        "DVC_NO_ANALYTICS": "1",
    }


def ask(folder: Path, *command: str, code: int | None = 0, **more: str) -> subprocess.CompletedProcess:
    """Run a command in ``folder``, its two streams in one text; ``code`` is the exit status it must have (None: any).

    more: environment variables.
    """
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder) | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert code is None or ended.returncode == code, f"{' '.join(command)}: {ended.returncode}\n{ended.stdout}"
    return ended


def run(stage: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess:
    """A stage as on a machine without DVC: ``python -m stages.<stage>``."""
    return ask(cwd, sys.executable, "-m", f"stages.{stage}", code=code)


def act(stage: str) -> None:
    """A stage's main in this process and this folder, on one rank: much the same as ``run`` without its start.

    Its clock starts now, not with the tests.
    """
    main = importlib.import_module(f"stages.{stage}").main
    taken = inspect.signature(main).parameters
    arguments = [machine.setup(getattr(params.read(), stage), stage)] if taken else []
    with mock.patch.dict(os.environ, GOLF_STARTED=str(time.time())):
        main(*arguments)


def git(folder: Path, *words: str) -> str:
    return ask(folder, "git", *words).stdout


def dvc(folder: Path, *words: str, code: int | None = 0) -> str:
    return ask(folder, DVC, *words, code=code).stdout


def finished(base: Path) -> Path:
    """The folder below ``base`` in which all stages ran once, whichever worker came first. Copy it, change nothing."""
    with open(base / "thimble.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = base / "thimble"
        if not folder.exists():
            shutil.rmtree(base / "thimble.work", ignore_errors=True)  # of a worker that failed
            work = lay_out(base / "thimble.work")
            for stage in STAGES:
                run(stage, work)
            work.rename(folder)
    return folder


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to, ignore=shutil.ignore_patterns("__pycache__")))


def files(folder: Path) -> list[str]:
    """Paths of all files below a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
