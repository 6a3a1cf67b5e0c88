"""golf/evaluation/sandbox/host.py; tests/integration/test_sandbox*.py has what a session does"""

import tempfile

from golf.artifacts.source_deps import list_stage_sources
from golf.evaluation.sandbox.host import Sandbox
from tests.helpers.external_predictors import evaluate_settings
from tests.helpers.tiny_corpus import ROOT


def test_every_file_that_the_sandbox_runs_is_a_source_of_evaluate(external_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Sandbox(evaluate_settings(external_dir, "golf.inference.predictor:GolfPredictor"), ROOT):
        copied = {path.relative_to(folder).as_posix() for folder in tmp_path.iterdir() for path in folder.rglob("*.py")}
    assert {f"golf/evaluation/sandbox/{name}.py" for name in ("worker", "predictor_server", "state_hash")} <= copied
    assert copied <= set(list_stage_sources("evaluate", ROOT))
