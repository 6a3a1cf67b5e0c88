"""A runnable copy of the project with a tiny corpus and tiny parameters; its stages, dvc and git run inside it."""

import importlib
import inspect
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import filelock
from ruamel.yaml import YAML

from golf.config import loader
from golf.distributed import device, launcher
from golf.model.attention_backends import resolve_attention
from tests.helpers import forkserver
from tests.helpers.tiny_corpus import ROOT, make_tiny_corpus

STAGES = ("fetch", "train", "ema", "ttt", "calibrate", "quantize", "compress", "evaluate")
EVALUATION_LOG = "artifacts/evaluate/evaluation_log.jsonl"  # every run continues it; DVC would clear an out
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
    "fetch": {
        "source": "files",
        "path": "texts",
        "val_percent": 15,
        "dev_percent": 15,
        "held_out": "documents",  # the tiny corpus repeats its sentences
        "shard_tokens": 4000,
    },
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
        "smear_gate_bos_id": None,
        "conv_kernel": 1,
    },
    "train": _CPU_EXECUTION
    | {
        "limit_s": None,
        "reserve_s": 0.0,
        "steps": 20,
        "batch_tokens": 512,
        "micro_batch_tokens": 256,
        "muon_momentum_warmup_steps": 10,
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
    | {
        "stride": 16,
        "eval_batch_tokens": 1024,
        "chunk_tokens": 512,
        "batch_tokens": 256,
        "epochs": 1,
        "lr": 0.01,
        "freeze_blocks": 0,
    },
    "prequant": {"epochs": 4, "lr": 0.005, "freeze_blocks": 1, "batch_tokens": 256, "chunk_tokens": 256},
    "calibrate": _CPU_EXECUTION
    | {"batches": 2, "batch_tokens": 512, "micro_batch_tokens": 256, "sensitivity_tokens": 512},
    "quantize": {"min_weights": 256},
    "compress": {"brotli_quality": 5, "limit_bytes": 100_000},
    "evaluate": _CPU_EXECUTION | {"stride": 16, "eval_batch_tokens": 1024, "proof_places": 8},
}


def create_project(folder: Path) -> Path:
    """The project's code and graph, a tiny params.yaml and tiny texts/, in a new ``folder``."""
    for package in ("golf", "stages", "tools"):
        shutil.copytree(ROOT / package, folder / package)  # with the bytecode, so that no process compiles it again
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
    """Set dotted keys in the folder's params.yaml; each must exist."""
    file = folder / "params.yaml"
    params_tree = YAML(typ="safe").load(file)
    for dotted, value in overrides.items():
        section, key = dotted.split(".")
        assert key in params_tree[section], dotted
        params_tree[section][key] = value
    with open(file, "w", encoding="utf-8") as output:
        YAML(typ="safe").dump(params_tree, output)


def isolated_env(folder: Path) -> dict[str, str]:
    """A command's environment: one thread, this interpreter's dvc and python, no settings of the user's git and dvc."""
    home = folder.parent / "home"
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "tiny",
        "GIT_AUTHOR_EMAIL": "tiny@example.org",
        "GIT_COMMITTER_NAME": "tiny",
        "GIT_COMMITTER_EMAIL": "tiny@example.org",
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(home / "system"),
        "DVC_NO_ANALYTICS": "1",
    }


def warm_env(folder: Path) -> dict[str, str]:
    """The same, where ``python`` starts warm."""
    env = isolated_env(folder)
    return env | {"PATH": f"{forkserver.warm_bin_dir()}{os.pathsep}{env['PATH']}"}


def run_command(folder: Path, *command: str, exit_code: int | None = 0, **env: str) -> subprocess.CompletedProcess:
    """Run a command in ``folder``, where Python starts warm; stdout holds both of its streams.

    exit_code: the status it must end with, None for any. env: additional environment variables.
    """
    completed = forkserver.run(
        command,
        cwd=folder,
        env=warm_env(folder) | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert exit_code is None or completed.returncode == exit_code, (
        f"{' '.join(command)}: {completed.returncode}\n{completed.stdout}"
    )
    return completed


def run_stage_process(stage: str, cwd: Path, exit_code: int | None = 0) -> subprocess.CompletedProcess:
    """Run a stage without DVC, as ``python -m stages.<stage>`` does."""
    return run_command(cwd, sys.executable, "-m", f"stages.{stage}", exit_code=exit_code)


def run_stage_in_process(stage: str) -> None:
    """Call a stage's main in this process and folder, on one rank.

    The evaluation's clock starts now, not when the test session did.
    """
    main = importlib.import_module(f"stages.{stage}").main
    parameters = inspect.signature(main).parameters
    arguments = (
        [device.init_context(getattr(loader.load_config(), stage), stage, resolve_attention)] if parameters else []
    )
    with mock.patch.dict(os.environ, {launcher.STARTED_AT_ENV: str(time.time())}):
        main(*arguments)


def git(folder: Path, *arguments: str) -> str:
    return run_command(folder, "git", *arguments).stdout


def dvc(folder: Path, *arguments: str, exit_code: int | None = 0) -> str:
    return run_command(folder, DVC_EXECUTABLE, *arguments, exit_code=exit_code).stdout


def run_pipeline_once(base: Path) -> Path:
    """The folder below ``base`` in which every stage has run; the first worker makes it. Copy it, change nothing."""
    with filelock.FileLock(base / "finished_run.lock"):
        folder = base / "finished_run"
        if not folder.exists():
            shutil.rmtree(base / "unfinished_run", ignore_errors=True)  # of a worker that failed
            work_dir = create_project(base / "unfinished_run")
            for stage in STAGES:
                run_stage_process(stage, work_dir)
            work_dir.rename(folder)
    return folder


def copy_project(folder: Path, destination: Path) -> Path:
    return Path(shutil.copytree(folder, destination))


def list_files(folder: Path) -> list[str]:
    """Paths of all files below a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
