"""Fixtures that several parts of the tests share, and the markers that follow from a test's directory."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest
import torch

from golf.config.model import ModelConfig
from golf.config.training import TrainConfig
from golf.distributed import launcher
from tests.helpers import tiny_training
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG, make_tiny_corpus

sys.path.append(str(ROOT / "tests"))  # sandboxes import the gallery as ``gallery``; last, as tests/dvc is not dvc
pytest.register_assert_rewrite(
    "tests.helpers.committed_checks",
    "tests.helpers.resumed_training",
    "tests.helpers.stage_processes",
    "tests.helpers.stage_errors",
    "tests.helpers.stage_metrics",
)
for _profile, _max_examples in {"dev": 20, "soak": 200}.items():  # no deadline: a first call may import the compiler
    hypothesis.settings.register_profile(
        _profile, deadline=None, max_examples=_max_examples, derandomize=_profile == "dev"
    )
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
_DIRECTORY_MARKERS = {"distributed": "ranks", "dvc": "dvc", "gallery": "gallery"}


def pytest_collection_modifyitems(items):
    for item in items:
        for directory, marker in _DIRECTORY_MARKERS.items():
            if item.path.is_relative_to(ROOT / "tests" / directory):
                item.add_marker(marker)
        if item.get_closest_marker("ranks") and item.config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group("ranks"))  # two such tests at once are too many processes


@pytest.fixture(autouse=True)
def fixed_seed():
    """Every test draws the same numbers, whichever test ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _warm_sandboxes():
    """Predictors' processes start as forks of a warm one; ``cold_start`` turns that off."""
    from golf.evaluation.sandbox import host
    from tests.helpers.forkserver import ForkedPopen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": ForkedPopen}))
        yield


@pytest.fixture
def cold_start(monkeypatch):
    """Predictors' processes start from nothing, as outside the tests."""
    from golf.evaluation.sandbox import host

    monkeypatch.setattr(host, "subprocess", subprocess)


@pytest.fixture(scope="session")
def tiny_corpus() -> list[str]:
    return make_tiny_corpus()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """The whole pipeline, run once on the tiny corpus for all tests and workers. Copy it, change nothing in it."""
    from tests.helpers import tiny_project

    base = tmp_path_factory.getbasetemp()
    return tiny_project.run_pipeline_once(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def project_dir(finished_run, tmp_path, monkeypatch) -> Path:
    """A copy of the finished run, which is also the current folder."""
    from tests.helpers import tiny_project

    folder = tiny_project.copy_project(finished_run, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def expect_stage_error(project_dir, capfd):
    """A function that runs a stage in ``project_dir`` which must fail, and returns its one message."""
    from tests.helpers import stage_errors

    with stage_errors.restore_signal_handlers():
        yield lambda name, code=1: stage_errors.run_failing_stage(name, capfd, code)


@pytest.fixture
def stage_dir(tmp_path) -> Path:
    """A folder with a params.yaml in which every stage runs on one CPU rank without the compiler."""
    from tests.helpers import stage_processes

    return stage_processes.write_params(tmp_path, {})


@pytest.fixture(scope="module")
def external_dir(tmp_path_factory) -> Path:
    """A folder with somebody else's predictor and artifact."""
    from tests.helpers import external_predictors

    return external_predictors.write_external_project(tmp_path_factory.mktemp("external"))


@pytest.fixture(scope="module")
def sandbox(external_dir):
    """An open sandbox for the external predictor."""
    from golf.evaluation.sandbox.host import Sandbox
    from tests.helpers import external_predictors

    with Sandbox(external_predictors.evaluate_settings(external_dir), external_dir) as open_sandbox:
        yield open_sandbox


@pytest.fixture(scope="session")
def gallery_run(finished_run, tmp_path_factory) -> Path:
    """The finished run with the gallery's code and its compliant predictor. Copy it, change nothing in it."""
    from gallery import harness

    return harness.create_gallery_project(finished_run, tmp_path_factory.mktemp("gallery") / "project")


@pytest.fixture
def gallery_dir(gallery_run, tmp_path, monkeypatch) -> Path:
    """A copy of the gallery's run, which is also the current folder; gallery/data_path.py names its data."""
    from tests.helpers import tiny_project

    folder = tiny_project.copy_project(gallery_run, tmp_path / "project")
    monkeypatch.chdir(folder)
    (folder / "gallery/data_path.py").write_text(f"DATA_PATH = {str(folder / 'artifacts/fetch')!r}\n", encoding="utf-8")
    monkeypatch.setenv(launcher.STARTED_AT_ENV, str(time.time()))  # else the test session counts as evaluation
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real tokenizers and texts beside the repository; the test is skipped where they are absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Workers share the cores, and sums are the same on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def tiny_model_config() -> ModelConfig:
    return TINY_MODEL_CONFIG


@pytest.fixture(scope="session")
def tiny_train_config() -> TrainConfig:
    return tiny_training.TINY_TRAIN_CONFIG
