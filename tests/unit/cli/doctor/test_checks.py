"""golf doctor's checks: each says what the machine has, and a hint on what it lacks"""

import dataclasses
import http.server
import shutil
import sys
import threading
from collections import namedtuple

import pytest
import torch

from golf.cli.doctor import machine_checks, project_checks
from golf.cli.doctor.finding import NOTE, OK, PROBLEM, MachineFinding
from golf.config import loader
from golf.distributed import machine_probe
from golf.evaluation.fence import availability, landlock
from golf.evaluation.fence.restrictions import FenceRecord
from golf.pipeline import cpu_load
from golf.pipeline.cpu_load import CpuTimes
from tests.helpers.file_tree import write_files
from tests.helpers.tiny_corpus import ROOT

CONFIG = loader.load_config(ROOT / "profiles/laptop.yaml")


def with_train(**changes):
    return dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, **changes))


def test_a_finding_is_one_line_and_one_object():
    finding = MachineFinding("disk", NOTE, "3 GB free", "free some")
    assert finding.render() == "note     disk       3 GB free; free some"
    assert finding.to_dict() == {"check": "disk", "status": "note", "found": "3 GB free", "cure": "free some"}


@pytest.mark.parametrize(("system", "status"), [("linux", OK), ("darwin", OK), ("win32", PROBLEM)])
def test_windows_is_a_problem(monkeypatch, system, status):
    monkeypatch.setattr(sys, "platform", system)
    assert project_checks.check_system(CONFIG).status == status


@pytest.mark.parametrize(
    ("versions", "status", "part"),
    [
        ({}, OK, "required packages as pinned"),
        ({"numpy": "1.0"}, NOTE, "numpy 1.0 (pinned "),
        ({"torch": f"{torch.__version__.partition('+')[0]}+cu999"}, OK, ""),
        ({"dvc": None}, PROBLEM, "not installed: dvc "),
        ({"pyppmd": None, "zpaq": None}, OK, ""),
        ({"matplotlib": "0.1"}, NOTE, "matplotlib 0.1 (pinned "),
    ],
)
def test_versions_are_compared_with_the_pins(monkeypatch, versions, status, part):
    pins = dict(project_checks._read_pins()[0]) | project_checks._read_pins()[1]
    monkeypatch.setattr(project_checks, "get_installed_version", lambda name: (pins | versions)[name])
    finding = project_checks.check_packages(CONFIG)
    assert finding.status == status
    assert part in finding.state


@pytest.mark.parametrize("name", ["make", "git"])
def test_a_program_that_is_missing_is_a_problem(monkeypatch, name):
    monkeypatch.setattr(shutil, "which", lambda program: None if program == name else f"/bin/{program}")
    finding = project_checks.check_programs(CONFIG)
    assert (finding.status, finding.state) == (PROBLEM, f"not found: {name}")


def test_params_that_are_missing_or_not_valid_are_a_problem_on_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "params.yaml" in project_checks.check_params(None).state
    text = (ROOT / "profiles/laptop.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("  n_layers: 5", "  n_layers: -5"))
    finding = project_checks.check_params(None)
    assert finding.status == PROBLEM
    assert "model.n_layers" in finding.state
    assert "\n" not in finding.render()
    assert project_checks.check_params(CONFIG).status == OK


def test_a_folder_without_dvc_or_git_or_with_a_cut_file_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no .dvc/" in project_checks.check_dvc(CONFIG).state
    write_files(tmp_path, {".dvc/config": "", "dvc.yaml": "stages: {}\n"})
    assert "no Git checkout" in project_checks.check_dvc(CONFIG).state
    (tmp_path / ".git").mkdir()
    assert project_checks.check_dvc(CONFIG).status == OK
    write_files(tmp_path, {".dvc/tmp/rwlock": '{"read'})
    finding = project_checks.check_dvc(CONFIG)
    assert finding.status == PROBLEM
    assert "rwlock" in finding.state
    assert "rm .dvc/tmp/rwlock" in finding.render()


@pytest.mark.parametrize(("free_gb", "status"), [(0.5, PROBLEM), (5, NOTE), (50, OK)])
def test_free_space_is_that_of_the_nearest_folder_that_exists(tmp_path, monkeypatch, free_gb, status):
    monkeypatch.chdir(tmp_path)
    usage = namedtuple("usage", "free")(int(free_gb * 1e9))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(project_checks, "_find_dvc_cache", lambda: tmp_path / "not/there/yet")
    finding = project_checks.check_disk(CONFIG)
    assert finding.status == status
    assert f"{free_gb:,.1f} GB free for artifacts, DVC's cache" in finding.state


@pytest.mark.parametrize(("busy_s", "status", "part"), [(0.1, OK, "0.1 used"), (1.5, NOTE, "1.5 used")])
def test_cores_that_others_use_are_a_note(monkeypatch, busy_s, status, part):
    readings = iter([CpuTimes(0.0, 0.0, 0.0), CpuTimes(1.0, busy_s, 0.0)])
    monkeypatch.setattr(cpu_load, "read_cpu_times", lambda: next(readings))
    monkeypatch.setattr(machine_checks, "_CPU_INTERVAL_S", 0.0)
    finding = machine_checks.check_cores(CONFIG)
    assert finding.status == status
    assert part in finding.state


def test_a_system_that_does_not_tell_how_busy_it_is_is_said_so(monkeypatch):
    monkeypatch.setattr(cpu_load, "read_cpu_times", lambda: None)
    monkeypatch.setattr(machine_checks, "_CPU_INTERVAL_S", 0.0)
    assert "NOT-RUN" in machine_checks.check_cores(CONFIG).state


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_is_missed_only_where_a_stage_asks_for_one(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert machine_checks.check_gpu(CONFIG).status == OK
    assert machine_checks.check_gpu(None).status == OK
    finding = machine_checks.check_gpu(with_train(device="cuda"))
    assert finding.status == PROBLEM
    assert finding.state.startswith("train.device: cuda was requested")
    monkeypatch.setattr(shutil, "which", lambda program: "/usr/bin/nvidia-smi")
    assert machine_checks.check_gpu(CONFIG).status == NOTE


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_an_attention_backend_that_can_not_run_is_a_problem_where_it_is_named():
    assert machine_checks.check_attention(CONFIG).status == OK
    finding = machine_checks.check_attention(with_train(attention="flash3"))
    assert finding.status == PROBLEM
    assert finding.state.startswith("train.attention: flash3 ")


@pytest.mark.parametrize(
    ("requested", "failure", "status"),
    [("auto", None, OK), ("auto", "no header", NOTE), ("on", "no header", PROBLEM), ("on", None, OK)],
)
def test_a_compiler_that_fails_is_a_problem_only_where_a_stage_needs_it(monkeypatch, requested, failure, status):
    monkeypatch.setattr(machine_probe, "find_compile_problem", lambda device: failure)
    finding = machine_checks.check_compiler(with_train(compile=requested))
    assert finding.status == status
    assert (failure or "the compiler works") in finding.state
    assert (finding.hint is None) == (failure is None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's precision is not measured")
@pytest.mark.parametrize(("speedup", "dtype"), [(1.0, "float32"), (3.0, "bfloat16")])
def test_the_precision_is_the_one_that_auto_takes(monkeypatch, speedup, dtype):
    monkeypatch.setattr(machine_probe, "measure_bf16_speedup", lambda: speedup)
    finding = machine_checks.check_dtype(CONFIG)
    assert (finding.status, finding.state.split()[0]) == (OK, dtype)


def test_the_fence_is_raised_in_a_process_of_its_own():
    record = availability.find_restrictions()
    assert any(entry.startswith("Landlock") for entry in record.restrictions) == (landlock.query_abi() > 0)
    assert availability.find_restrictions() == record, "this process is still free to start others"


@pytest.mark.parametrize(("missing", "status"), [((), OK), (("no seccomp (refused)",), NOTE)])
def test_a_missing_restriction_is_a_note(monkeypatch, missing, status):
    monkeypatch.setattr(availability, "find_restrictions", lambda: FenceRecord(("Landlock (ABI 7)",), missing))
    finding = machine_checks.check_fence(CONFIG)
    assert finding.status == status
    assert all(part in finding.state for part in ("Landlock", *missing))


class _Refusing(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(403)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.HTTPServer(("127.0.0.1", 0), _Refusing) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_server_that_refuses_is_reachable_and_its_password_is_not_shown(server, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"http://name:secret@{server}/simple")
    monkeypatch.setenv("NO_PROXY", "*")
    finding = project_checks.check_index(CONFIG)
    assert (finding.status, finding.state) == (OK, f"http://{server} answers")


def test_a_server_that_is_not_there_is_a_note(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "*")
    finding = project_checks.check_hub(CONFIG)
    assert (finding.status, "does not answer" in finding.state) == (NOTE, True)
    monkeypatch.setenv("HF_ENDPOINT", "no address")
    assert project_checks.check_hub(CONFIG).status == NOTE
