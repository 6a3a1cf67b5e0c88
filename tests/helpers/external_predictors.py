"""A project with an external predictor, ``scripted_predictor``, for tests of the sandbox."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tests.helpers.tiny_corpus import ROOT


@dataclass
class ScriptedTTTConfig:
    """A TTT config that names the method which answers ``score``."""

    behavior: str


def write_external_project(folder: Path) -> Path:
    """A predictor, a module that it imports and its artifact; also a damaged artifact and a module with bad syntax."""
    (folder / "mine").mkdir()
    shutil.copy(ROOT / "tests/helpers/scripted_predictor.py", folder / "mine" / "predictor.py")
    (folder / "helper.py").write_text("THREE = 3\n")
    (folder / "weights.txt").write_text("good")
    (folder / "bad.txt").write_text("damaged")
    (folder / "broken.py").write_text("def (:\n")
    return folder


def evaluate_settings(
    folder: Path, predictor: str = "mine.predictor:ScriptedPredictor", artifact: str = "weights.txt"
) -> SimpleNamespace:
    """The parts of an EvaluateConfig that a sandbox reads."""
    execution = {"device": "cpu", "attention": "sdpa", "compile": "off", "dtype": "float32"}
    return SimpleNamespace(predictor=predictor, artifact=str(folder / artifact), eval_batch_tokens=64, **execution)


def token_array(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint16)


def score_once(sandbox, behavior: str):
    """One score of two tokens, in a session of its own."""
    with sandbox.session() as session:
        session.reset(stride=4, ttt_cfg=ScriptedTTTConfig(behavior))
        return session.score(token_array(1, 2), token_array(3, 4))
