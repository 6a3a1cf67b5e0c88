"""Checks of ``golf doctor``: packages, programs, params.yaml, DVC, disk, network."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from golf.cli.doctor.finding import NOTE, OK, PROBLEM, MachineFinding, split_message
from golf.config import loader
from golf.config.loader import Config
from golf.distributed.packages import get_installed_version
from golf.errors import ConfigError, GolfError
from golf.pipeline import dvc_state

__all__ = [
    "check_disk",
    "check_dvc",
    "check_hub",
    "check_index",
    "check_packages",
    "check_params",
    "check_programs",
    "check_system",
]

_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?\s*==\s*([^\s;]+)")
_MIN_FREE_BYTES = 1_000_000_000  # a run of profiles/laptop.yaml writes 0.3 GB, and DVC may keep a copy
_LOW_FREE_BYTES = 10_000_000_000  # a new environment takes several
_NETWORK_TIMEOUT_S = 3.0
_COMMAND_TIMEOUT_S = 30.0
_DEFAULT_INDEX, _DEFAULT_HUB = "https://pypi.org/simple/", "https://huggingface.co"


def check_system(cfg: Config | None) -> MachineFinding:
    """Check Python and the operating system."""
    state = f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {platform.machine()}"
    if sys.platform == "win32":
        return MachineFinding(
            "system", PROBLEM, state, "golf's stages need Linux or macOS: use WSL 2 (docs/quickstart.md)"
        )
    return MachineFinding("system", OK, state)


def check_packages(cfg: Config | None) -> MachineFinding:
    """Check installed versions against those of pyproject.toml; of extras, only what is installed."""
    required, optional = _read_pins()
    versions = {name: get_installed_version(name) for name in required | optional}
    missing = [f"{name} {pin}" for name, pin in required.items() if versions[name] is None]
    differing = [
        f"{name} {version} (pinned {pin})"
        for name, pin in (required | optional).items()
        if (version := versions[name]) is not None and version.partition("+")[0] != pin
    ]
    hint = "install what is pinned: pip install -e '.[dev]'"
    if missing:
        return MachineFinding("packages", PROBLEM, f"not installed: {', '.join(missing)}", hint)
    if differing:
        return MachineFinding("packages", NOTE, f"other than pinned: {', '.join(differing)}", hint)
    return MachineFinding("packages", OK, f"{len(required)} required packages as pinned")


def _read_pins() -> tuple[dict[str, str], dict[str, str]]:
    """Versions by package: the required ones, and those of the extras."""
    pyproject = Path(__file__).parents[3] / "pyproject.toml"
    if pyproject.is_file():
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        extras = [line for lines in project["optional-dependencies"].values() for line in lines]
        return dict(_REQUIREMENT.findall("\n".join(project["dependencies"]))), dict(
            _REQUIREMENT.findall("\n".join(extras))
        )
    lines = importlib.metadata.requires("golf") or []
    required = [line for line in lines if "extra ==" not in line]
    extras = [line for line in lines if "extra ==" in line]
    return dict(_REQUIREMENT.findall("\n".join(required))), dict(_REQUIREMENT.findall("\n".join(extras)))


def check_programs(cfg: Config | None) -> MachineFinding:
    """Check the programs that ``make run`` starts: make, git and dvc."""
    dvc = Path(sys.executable).with_name("dvc")
    paths = {name: shutil.which(name) for name in ("make", "git")}
    paths["dvc"] = str(dvc) if dvc.is_file() else shutil.which("dvc")
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        hint = "install them; dvc comes with golf's packages" if "dvc" in missing else "install them"
        return MachineFinding("programs", PROBLEM, f"not found: {', '.join(missing)}", hint)
    return MachineFinding("programs", OK, ", ".join(paths))


def check_params(cfg: Config | None) -> MachineFinding:
    """Check that params.yaml is there and valid."""
    if cfg is not None:
        return MachineFinding("params", OK, f"params.yaml is valid (profile {cfg.profile})")
    try:
        loader.load_config()
    except ConfigError as error:
        first = " ".join(" ".join(str(error).splitlines()[:2]).split())
        return MachineFinding("params", PROBLEM, first, "golf validate says all; run golf doctor in golf's own folder")
    return MachineFinding("params", OK, "params.yaml is valid")


def check_dvc(cfg: Config | None) -> MachineFinding:
    """Check that this folder is a DVC project in a Git checkout, and that DVC's own files are intact."""
    if not Path(".dvc").is_dir() or not Path("dvc.yaml").is_file():
        return MachineFinding("dvc", PROBLEM, "this folder has no .dvc/ and dvc.yaml", "run in golf's own folder")
    folder = Path.cwd()
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return MachineFinding(
            "dvc", PROBLEM, "this folder is no Git checkout, which dvc needs", "git init, or clone it again"
        )
    try:
        dvc_state.require_intact_dvc_state()
    except GolfError as error:
        return MachineFinding("dvc", PROBLEM, *split_message(error))
    return MachineFinding("dvc", OK, "dvc.lock and DVC's list of running commands are intact")


def check_disk(cfg: Config | None) -> MachineFinding:
    """Check the free space where artifacts, DVC's cache and temporary files live."""
    folders = {
        "artifacts": Path("artifacts"),
        "DVC's cache": _find_dvc_cache(),
        "temporary files": Path(tempfile.gettempdir()),
    }
    free: dict[int, int] = {}
    by_device: dict[int, list[str]] = {}
    for name, folder in folders.items():
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not os.access(existing, os.W_OK):
            return MachineFinding(
                "disk", PROBLEM, f"{name}: {existing} can't be written to", "give this user the right to it"
            )
        device = existing.stat().st_dev
        free[device] = shutil.disk_usage(existing).free
        by_device.setdefault(device, []).append(name)
    state = "; ".join(
        f"{free[device] / 1e9:,.1f} GB free for {', '.join(names)}" for device, names in by_device.items()
    )
    least = min(free.values())
    if least < _MIN_FREE_BYTES:
        return MachineFinding(
            "disk", PROBLEM, state, f"a run needs {_MIN_FREE_BYTES / 1e9:.0f} GB: free some, or dvc gc -w"
        )
    if least < _LOW_FREE_BYTES:
        return MachineFinding(
            "disk", NOTE, state, "a new environment takes several GB, and DVC keeps earlier runs: dvc gc -w"
        )
    return MachineFinding("disk", OK, state)


def _find_dvc_cache() -> Path:
    """The folder of DVC's cache, as dvc says; where it can't, the usual one."""
    dvc = Path(sys.executable).with_name("dvc")
    command = [str(dvc) if dvc.is_file() else "dvc", "cache", "dir"]
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, timeout=_COMMAND_TIMEOUT_S, encoding="utf-8", errors="replace"
        )
        return Path(done.stdout.strip() or ".dvc/cache")
    except (OSError, subprocess.SubprocessError):
        return Path(".dvc/cache")


def check_index(cfg: Config | None) -> MachineFinding:
    """Check that the package index answers, which a new environment needs."""
    hint = "needed to install packages only; PIP_INDEX_URL names another index"
    return _check_url("index", _find_index(), hint)


def check_hub(cfg: Config | None) -> MachineFinding:
    """Check that the hub answers, from which ``fetch.source: hub`` downloads."""
    hint = "needed for fetch.source: hub only; HF_ENDPOINT names a mirror"
    return _check_url("hub", os.environ.get("HF_ENDPOINT", _DEFAULT_HUB), hint)


def _find_index() -> str:
    """pip's index: the environment's, else the one of its configuration files, else PyPI."""
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=_COMMAND_TIMEOUT_S, encoding="utf-8", errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return _DEFAULT_INDEX
    return done.stdout.strip() or _DEFAULT_INDEX


def _check_url(check: str, url: str, hint: str) -> MachineFinding:
    """A note unless the server answers in time, with whatever status. Name and password are neither sent nor shown."""
    parts = urllib.parse.urlsplit(url)
    parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    shown = f"{parts.scheme}://{parts.netloc}"
    outcome: list[str] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(parts.geturl(), method="HEAD")
            with urllib.request.urlopen(request, timeout=_NETWORK_TIMEOUT_S):
                outcome.append("")
        except urllib.error.HTTPError:
            outcome.append("")  # it answers
        except (OSError, ValueError) as error:
            outcome.append(str(getattr(error, "reason", error)))

    thread = threading.Thread(target=ask, daemon=True)  # a name server may keep it longer than the timeout
    thread.start()
    thread.join(_NETWORK_TIMEOUT_S + 1)
    reason = outcome[0] if outcome else "timed out"
    if reason:
        return MachineFinding(check, NOTE, f"{shown} does not answer ({reason})", hint)
    return MachineFinding(check, OK, f"{shown} answers")
