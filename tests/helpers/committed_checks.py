"""What must hold for the committed run: its remote is complete, and its artifact scores as its ledger says."""

from types import SimpleNamespace

import numpy as np
import pytest

from golf.data import split_reader
from golf.evaluation import ledger
from golf.evaluation.sandbox.host import Sandbox
from tests.helpers import committed
from tools import ci

ARTIFACT, CODE = "artifacts/compress/model.golf", "artifacts/compress/code.tar.xz"
VAL = "artifacts/fetch/val"
N_TARGETS = 16_384
NATS_TOLERANCE = 1e-3


def check_remote() -> None:
    """Every artifact that CI evaluates is in the remote."""
    outs = committed.locked_md5s()
    stages = ci.resolve_stages(committed.read_yaml("dvc.yaml"), committed.read_yaml("params.yaml"))
    missing = [
        path for path in ci.list_paths_to_push(stages) if not committed.is_in_remote(committed.find_md5(path, outs))
    ]
    assert missing == [], f"run: {committed.PUSH_COMMAND}"


def check_plain_scores(folder) -> None:
    """The artifact, opened by the code it was weighed with, gives the ledger's first scores; files go to ``folder``."""
    params = committed.read_yaml("params.yaml")
    if params["evaluate"]["artifact"] != ARTIFACT:
        pytest.skip(f"the committed run evaluates {params['evaluate']['artifact']}")
    artifact, code, val = (committed.materialize(path, folder) for path in (ARTIFACT, CODE, VAL))
    rows, _ = ledger.read(committed.materialize(ci.PLAIN_LEDGER, folder))
    settings = params["evaluate"] | {"artifact": str(artifact), "device": "cpu", "compile": "off"}
    tokens = split_reader.open_split(val).read_tokens()

    nll = _score_plain(SimpleNamespace(**settings), code, tokens, rows, params["model"]["context_length"])

    expected = rows.nll[: len(nll)]
    assert len(nll) == min(N_TARGETS, len(rows.nll))
    assert abs(nll.mean(dtype=np.float64) - expected.mean(dtype=np.float64)) < NATS_TOLERANCE
    assert np.abs(nll - expected).max() < (NATS_TOLERANCE if settings["dtype"] == "float32" else 0.1)


def _score_plain(settings, code, tokens, rows, context_length) -> np.ndarray:
    """The nll of the first targets in the ledger's own chunks, fp32 [N]."""
    scores: list[np.ndarray] = []
    with Sandbox(settings, code_path=code) as sandbox, sandbox.session() as session:
        session.reset(stride=context_length, n_chunks=int(rows.chunk_ids[-1]) + 1)
        n_scored = 0
        while n_scored < min(N_TARGETS, len(rows.nll)):
            end = int(np.searchsorted(rows.chunk_ids, rows.chunk_ids[n_scored], side="right"))
            nll = session.score(tokens[: n_scored + 1], tokens[n_scored + 1 : end + 1])
            scores.append(np.asarray(nll))
            n_scored = end
    return np.concatenate(scores)[:N_TARGETS]
