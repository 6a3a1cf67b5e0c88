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

from ruamel.yaml import YAML

from golf.config import loader
from golf.distributed import device
from tests.helpers.tiny_corpus import ROOT, make_tiny_corpus

STAGES = ("fetch", "train", "ema", "ttt", "calibrate", "quantize", "compress", "evaluate")
_PLOT_TEMPLATES = (".dvc/plots/bits_by_column.json", ".dvc/plots/rate_distortion.json")
_COPIED_FILES = (
    "dvc.yaml",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
    ".github/workflows/ci.yml",
    *_PLOT_TEMPLATES,
)
DVC_EXECUTABLE = str(Path(sys.executable).with_name("dvc"))
_CPU_EXECUTION = {"device": "cpu", "compile": "off", "dtype": "float32"}
TINY_PARAMS = {
    "fetch": {"source": "files", "path": "texts", "val_percent": 15, "dev_percent": 15, "shard_tokens": 4000},
    "model": {
        "vocab_size": 320,
        "n_layers": 3,
        "d_model": 32,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_ff": 64,
        "context_length": 32,
        "rope_dims": 4,
        "recur_start": 1,
        "recur_end": 1,
        "recur_passes": 2,
        "parallel_residual_from": 2,
    },
    "train": _CPU_EXECUTION
    | {
        "limit_s": None,
        "reserve_s": 0.0,
        "steps": 20,
        "batch_tokens": 512,
        "micro_batch_tokens": 256,
        "momentum_steps": 10,
        "ema_decays": [0.9, 0.9965],
        "ema_basis_decays": [0.9, 0.98],
        "ema_snapshots": 3,
        "ema_snapshot_every": 5,
        "checkpoint_every": 10,
        "dev_every": 10,
        "log_every": 5,
    },
    "ema": _CPU_EXECUTION | {"decay": 0.9, "eval_batch_tokens": 1024},
    "ttt": _CPU_EXECUTION
    | {"stride": 16, "eval_batch_tokens": 1024, "chunk_tokens": 512, "batch_tokens": 256, "epochs": 1, "lr": 0.01},
    "prequant": {"epochs": 4, "lr": 0.005, "freeze_blocks": 1, "batch_tokens": 256, "chunk_tokens": 256},
    "calibrate": _CPU_EXECUTION
    | {"batches": 2, "batch_tokens": 512, "micro_batch_tokens": 256, "sensitivity_tokens": 512},
    "quantize": {"min_weights": 256},
    "compress": {"brotli_quality": 5, "limit_bytes": 100_000},
    "evaluate": _CPU_EXECUTION | {"stride": 16, "eval_batch_tokens": 1024},
}


def create_project(folder: Path) -> Path:
    """The project's code and graph, params.yaml at thimble size, and texts/, in a new ``folder``."""
    for package in ("golf", "stages"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _COPIED_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / "profiles" / "laptop.yaml", folder / "params.yaml")
    set_params(
        folder, {f"{section}.{key}": value for section, keys in TINY_PARAMS.items() for key, value in keys.items()}
    )
    (folder / "texts").mkdir()
    for index, text in enumerate(make_tiny_corpus()):
        (folder / "texts" / f"{index:02}.txt").write_text(text, encoding="utf-8")
    return folder


def set_params(folder: Path, overrides: dict[str, object]) -> None:
    """Set dotted keys of the folder's params.yaml, each of which must exist."""
    file = folder / "params.yaml"
    params_tree = YAML(typ="safe").load(file)
    for dotted, value in overrides.items():
        section, key = dotted.split(".")
        assert key in params_tree[section], dotted
        params_tree[section][key] = value
    with open(file, "w", encoding="utf-8") as output:
        YAML(typ="safe").dump(params_tree, output)


def isolated_env(folder: Path) -> dict[str, str]:
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


def run_command(folder: Path, *command: str, exit_code: int | None = 0, **env: str) -> subprocess.CompletedProcess:
    """Run a command in ``folder``, its two streams in one text; ``code`` is the exit status it must have (None: any).

    more: environment variables.
    """
    completed = subprocess.run(
        command,
        cwd=folder,
        env=isolated_env(folder) | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert exit_code is None or completed.returncode == exit_code, (
        f"{' '.join(command)}: {completed.returncode}\n{completed.stdout}"
    )
    return completed


def run_stage_process(stage: str, cwd: Path, exit_code: int | None = 0) -> subprocess.CompletedProcess:
    """A stage as on a machine without DVC: ``python -m stages.<stage>``."""
    return run_command(cwd, sys.executable, "-m", f"stages.{stage}", exit_code=exit_code)


def run_stage_in_process(stage: str) -> None:
    """A stage's main in this process and this folder, on one rank: much the same as ``run`` without its start.

    Its clock starts now, not with the tests.
    """
    main = importlib.import_module(f"stages.{stage}").main
    parameters = inspect.signature(main).parameters
    arguments = [device.init_context(getattr(loader.load_config(), stage), stage)] if parameters else []
    with mock.patch.dict(os.environ, GOLF_STARTED=str(time.time())):
        main(*arguments)


def git(folder: Path, *arguments: str) -> str:
    return run_command(folder, "git", *arguments).stdout


def dvc(folder: Path, *arguments: str, exit_code: int | None = 0) -> str:
    return run_command(folder, DVC_EXECUTABLE, *arguments, exit_code=exit_code).stdout


def run_pipeline_once(base: Path) -> Path:
    """The folder below ``base`` in which all stages ran once, whichever worker came first. Copy it, change nothing."""
    with open(base / "thimble.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = base / "thimble"
        if not folder.exists():
            shutil.rmtree(base / "thimble.work", ignore_errors=True)  # of a worker that failed
            work_dir = create_project(base / "thimble.work")
            for stage in STAGES:
                run_stage_process(stage, work_dir)
            work_dir.rename(folder)
    return folder


def copy_project(folder: Path, destination: Path) -> Path:
    return Path(shutil.copytree(folder, destination, ignore=shutil.ignore_patterns("__pycache__")))


def list_files(folder: Path) -> list[str]:
    """Paths of all files below a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
