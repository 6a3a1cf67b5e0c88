"""golf/inference/phased_sgd.py: when phases begin, and what they train on"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from golf.distributed.context import single_process
from golf.inference.interface import ScoredChunk
from golf.inference.phased_sgd import PhasedSGD
from golf.inference.score_first_sgd import ScoreFirstSGD
from golf.model.gpt import GPT
from tests.helpers.ttt_settings import make_ttt_settings

BOS = 1
STREAM = np.random.default_rng(0).integers(2, 60, 400).astype(np.uint16)
STREAM[[0, 50, 120, 200, 290]] = BOS
PHASED = SimpleNamespace(phases=2, prefix_documents=4, chunk_tokens=64, lora_lr=None)
CFG = make_ttt_settings(method="phased", phased=PHASED)


def make_model(tiny_model_config) -> GPT:
    return GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0))


def run(model, n_chunks=8) -> list[int]:
    """The chunks, of 50 targets, with which a phase began."""
    learner = PhasedSGD(model, CFG, single_process())
    chunks = [ScoredChunk(i, STREAM[50 * i : 50 * i + 51], i == 7, "") for i in range(n_chunks)]
    return [chunk.index for chunk in chunks if learner.train_on_chunk(chunk)]


def test_a_phase_begins_when_its_documents_are_scored(tiny_model_config):
    assert run(make_model(tiny_model_config)) == [2, 5], "documents 1 and 2 end at 120, 3 and 4 at 290"


def test_a_phase_is_one_pass_of_score_first_sgd_over_its_documents(tiny_model_config):
    model, expected = make_model(tiny_model_config), make_model(tiny_model_config)
    run(model)
    for n_tokens in (120, 290):
        begins = range(0, n_tokens - 1, 64)
        learner = ScoreFirstSGD(expected, CFG, single_process(), n_chunks=len(begins))
        for index, begin in enumerate(begins):
            chunk = STREAM[:n_tokens][begin : begin + 65]
            learner.train_on_chunk(ScoredChunk(index, chunk, False, ""))
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], atol=0, rtol=0)


def test_text_that_is_not_scored_changes_no_weight(tiny_model_config):
    model, initial = make_model(tiny_model_config), make_model(tiny_model_config).state_dict()
    assert run(model, n_chunks=2) == []
    assert all(torch.equal(tensor, initial[name]) for name, tensor in model.state_dict().items())


def test_anything_but_a_sealed_chunk_is_refused(tiny_model_config):
    with pytest.raises(TypeError, match="a ScoredChunk, got ndarray"):
        PhasedSGD(make_model(tiny_model_config), CFG, single_process()).train_on_chunk(STREAM)
