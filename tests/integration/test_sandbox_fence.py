"""golf/evaluation/sandbox behind golf/evaluation/fence: a missing restriction is reported, and the evaluator decides"""

import pytest
import torch

from golf.errors import PredictorError
from golf.evaluation.fence import landlock, seccomp
from golf.evaluation.sandbox import host
from golf.evaluation.sandbox.host import Sandbox
from tests.helpers.external_predictors import evaluate_settings, score_once

WITHOUT_RESTRICTION = {
    "golf/evaluation/fence/landlock.py": ("no Landlock", b"\ndef query_abi(): return 0\n"),
    "golf/evaluation/fence/seccomp.py": ("no seccomp", b"\ndef find_missing_support(): return 'refused'\n"),
}
needs_fence = pytest.mark.skipif(
    landlock.query_abi() < 1 or bool(seccomp.find_missing_support()), reason="needs a kernel with Landlock and seccomp"
)


def open_once(external_dir, settings=None):
    """The closed session of a sandbox."""
    with Sandbox(settings or evaluate_settings(external_dir), external_dir) as sandbox, sandbox.session() as session:
        pass
    return session


def change_evaluator(monkeypatch, changed_file: str, addition: bytes) -> None:
    """Append to a file of the evaluator's as a sandbox gets it."""
    read = host._read_own_source
    monkeypatch.setattr(host, "_read_own_source", lambda file: read(file) + (addition if file == changed_file else b""))


@needs_fence
def test_both_restrictions_hold_a_session(external_dir):
    record = open_once(external_dir).access_report["fence"]
    assert record.missing == ()
    assert record.restrictions[:2] == (f"Landlock (ABI {landlock.query_abi()})", "seccomp")


@pytest.mark.parametrize("file", WITHOUT_RESTRICTION)
def test_a_restriction_that_the_kernel_refuses_is_reported(external_dir, monkeypatch, file):
    reason, addition = WITHOUT_RESTRICTION[file]
    change_evaluator(monkeypatch, file, addition)
    assert any(entry.startswith(reason) for entry in open_once(external_dir).access_report["fence"].missing)


@needs_fence
def test_a_session_may_read_its_own_proc_folder_and_not_the_evaluators(external_dir):
    with Sandbox(evaluate_settings(external_dir), external_dir) as sandbox:
        assert score_once(sandbox, "reads_own_proc").tolist() == [0, 0]
        with pytest.raises(PredictorError, match="PermissionError"):
            score_once(sandbox, "reads_parents_proc")


def test_a_secret_of_the_environment_does_not_reach_the_sandbox(external_dir, monkeypatch):
    monkeypatch.setenv("CLOUD_SECRET_KEY", "hush")
    with Sandbox(evaluate_settings(external_dir), external_dir) as sandbox:
        assert score_once(sandbox, "secret").tolist() == [0, 0]


@pytest.mark.parametrize("change", ["rank=1", "dtype=__import__('torch').bfloat16"])
def test_a_process_that_runs_as_another_rank_or_in_another_precision_is_refused(external_dir, monkeypatch, change):
    addition = (
        f"\n_init = init_context\ndef init_context(*a, **k): return dataclasses.replace(_init(*a, **k), {change})\n"
    )
    change_evaluator(monkeypatch, "golf/distributed/device.py", addition.encode())
    with pytest.raises(PredictorError, match=r"its process has (ranks|dtype) .*, not "):
        open_once(external_dir)


def test_what_a_predictor_does_to_its_context_changes_nothing_for_the_evaluator(external_dir):
    ctx = open_once(external_dir).ctx
    assert (ctx.rank, ctx.world_size, ctx.dtype, ctx.device) == (0, 1, torch.float32, torch.device("cpu"))


def test_a_code_archive_cannot_replace_what_runs_before_the_fence(external_dir, tmp_path):
    for file in ("golf/__init__.py", "golf/errors.py", "golf/evaluation/__init__.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("raise SystemExit('ran before the fence')\n" if "errors" in file else "")
    (tmp_path / "own.py").write_text("import golf.errors\nclass Own: pass\n")
    (tmp_path / "weights.txt").write_text("good")
    with (
        Sandbox(evaluate_settings(tmp_path, "own:Own"), tmp_path) as sandbox,
        pytest.raises(PredictorError, match=r"its process exited with code 1 during open"),
        sandbox.session(),
    ):
        pass


def test_thousands_of_nested_folders_are_cleaned_up(external_dir):
    with Sandbox(evaluate_settings(external_dir), external_dir) as sandbox:
        score_once(sandbox, "nests_folders")
        assert score_once(sandbox, "compliant").tolist() == [3, 3]
        score_once(sandbox, "nests_folders")
    assert not sandbox.folder.exists()
