"""What several tests share: a thimble of text, a tiny model, and real data where a checkout has it."""

import dataclasses
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest
import torch

from golf.config import loader, sections
from golf.config.model import ModelConfig
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG, make_tiny_corpus

pytest.register_assert_rewrite("tests.helpers.stage_processes", "tests.helpers.stage_errors")
hypothesis.settings.register_profile("golf", deadline=None)  # a first call may have to import the compiler
hypothesis.settings.load_profile("golf")


@pytest.fixture(autouse=True)
def fixed_seed():
    """Every test draws the same numbers, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_corpus() -> list[str]:
    return make_tiny_corpus()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """The whole pipeline, run once on a thimble of text for all tests and workers. Copy it, change nothing in it."""
    from tests.helpers import tiny_project

    base = tmp_path_factory.getbasetemp()
    return tiny_project.run_pipeline_once(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def project_dir(finished_run, tmp_path, monkeypatch) -> Path:
    """A copy of the finished run to work in, and as the current folder."""
    from tests.helpers import tiny_project

    folder = tiny_project.copy_project(finished_run, tmp_path / "place")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def expect_stage_error(project_dir, capfd):
    """Enter a stage in ``place`` that must fail; returns its one message."""
    from tests.helpers import stage_errors

    with stage_errors.restore_signal_handlers():
        yield lambda name, code=1: stage_errors.run_failing_stage(name, capfd, code)


@pytest.fixture
def stage_dir(tmp_path) -> Path:
    """A working folder with params.yaml, every stage on one CPU rank and eager."""
    from tests.helpers import stage_processes

    return stage_processes.write_params(tmp_path, {})


@pytest.fixture(scope="module")
def external_dir(tmp_path_factory) -> Path:
    """A folder with somebody's own method and artifact."""
    from tests.helpers import external_predictors

    return external_predictors.write_external_project(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def sandbox(external_dir):
    """Open for a stranger's method."""
    from golf.evaluation.sandbox.host import Sandbox
    from tests.helpers import external_predictors

    with Sandbox(external_predictors.evaluate_settings(external_dir), external_dir) as open_sandbox:
        yield open_sandbox


@pytest.fixture(scope="session")
def gallery_run(finished_run, tmp_path_factory) -> Path:
    """The finished run with the gallery's code and its honest predictor. Copy it, change nothing in it."""
    from gallery import harness

    return harness.create_gallery_project(finished_run, tmp_path_factory.mktemp("gallery") / "place")


@pytest.fixture(scope="session")
def forkserver():
    """What rooms start warm from."""
    from gallery.forkserver import Forkserver

    server = Forkserver()
    yield server
    server.close()


@pytest.fixture
def gallery_dir(gallery_run, forkserver, tmp_path, monkeypatch) -> Path:
    """A copy of the gallery's run to work in, where rooms start warm and the environment says where the data lies."""
    from tests.helpers import tiny_project

    folder = tiny_project.copy_project(gallery_run, tmp_path / "place")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DATA_PATH", str(folder / "artifacts/fetch"))
    monkeypatch.setenv("GOLF_STARTED", str(time.time()))  # else the test session counts as evaluation
    monkeypatch.setattr(
        "golf.evaluation.sandbox.host.subprocess", SimpleNamespace(Popen=forkserver, DEVNULL=subprocess.DEVNULL)
    )
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real tokenizers and texts beside the repository; skips where they are not."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Workers share the cores, and sums come out the same on every machine."""
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
def tiny_train_config() -> sections.TrainConfig:
    """The laptop's training at the size of tiny_shape: 12 steps of 8 rows, by steps alone, in fp32."""
    return dataclasses.replace(
        loader.load_config(ROOT / "profiles" / "laptop.yaml").train,
        device="cpu",
        compile="off",
        dtype="float32",
        limit_s=None,
        reserve_s=0.0,
        steps=12,
        batch_tokens=256,
        micro_batch_tokens=64,
        momentum_steps=6,
        checkpoint_every=5,
        dev_every=5,
        log_every=1,
    )
