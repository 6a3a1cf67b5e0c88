"""The example of docs/evaluation-rules.md runs in the sandbox and keeps the contract of golf.inference.interface."""

import shutil

import numpy as np
import pytest

from golf.evaluation.sandbox.host import Sandbox
from golf.inference.interface import ScoredChunk
from tests.helpers.external_predictors import evaluate_settings
from tests.helpers.tiny_corpus import ROOT


def test_the_documented_example_scores_and_predicts_in_the_sandbox(tmp_path):
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(50), 50)).astype(np.float32)
    np.save(tmp_path / "bigram.npy", log_probs)
    shutil.copy(ROOT / "tests/helpers/example_predictor.py", tmp_path / "bigram.py")
    prefix, chunk = np.array([3, 4], np.uint16), np.array([5, 6, 7], np.uint16)
    settings = evaluate_settings(tmp_path, "bigram:BigramPredictor", "bigram.npy")

    with Sandbox(settings, tmp_path) as sandbox, sandbox.session() as session:
        session.reset(stride=4, order="documents")
        nll = session.score(prefix, chunk)
        predicted = [session.predict(np.append(prefix, chunk[:row])) for row in (0, 2)]
        session.update(ScoredChunk(0, np.append(prefix[-1:], chunk), True, ""))

    np.testing.assert_array_equal(nll, -log_probs[[4, 5, 6], [5, 6, 7]])
    np.testing.assert_array_equal(predicted, log_probs[[4, 6]])
    assert np.exp(predicted).sum(1) == pytest.approx([1, 1], abs=1e-5)
    assert set(sandbox.sources) == {"bigram.py"}
