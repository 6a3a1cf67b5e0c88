"""golf/evaluation/sandbox/host.py; tests/integration/test_sandbox*.py has what a session does"""

from golf.artifacts.source_deps import stage_sources
from golf.evaluation.sandbox import host
from tests.helpers.external_predictors import evaluate_settings
from tests.helpers.tiny_corpus import ROOT


def test_every_file_of_golf_that_is_copied_into_the_sandbox_is_a_source_of_evaluate(external_dir, monkeypatch):
    copied, read = set(), host._read_own_source
    monkeypatch.setattr(host, "_read_own_source", lambda file: copied.add(file) or read(file))
    settings = evaluate_settings(external_dir, "golf.inference.predictor:GolfPredictor")
    with host.Sandbox(settings, ROOT) as sandbox:
        pass
    assert {"golf/evaluation/sandbox/predictor_server.py", "golf/evaluation/sandbox/state_hash.py"} <= copied
    assert copied | set(sandbox.sources) <= set(stage_sources("evaluate", ROOT))
