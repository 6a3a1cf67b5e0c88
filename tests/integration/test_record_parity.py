"""A tiny model gives the figures that PR #1493's own functions give for it (tests/golden/parity)"""

import numpy as np
import pytest
import torch

from golf.distributed import context
from golf.evaluation import bpb, scoring_loop
from golf.evaluation.ledger import Ledger
from golf.inference.predictor import GolfPredictor
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.quantization import hessians
from tests.helpers import parity_inputs
from tests.helpers.parity_inputs import HESSIAN_LAYERS, MODEL_CONFIG, N_TOKENS
from tests.helpers.tiny_corpus import ROOT
from tests.helpers.ttt_settings import make_ttt_settings

_TTT_CONFIG = make_ttt_settings(lr=0.01, epochs=2, batch_tokens=160)
MODES = {"plain": (32, None), "sliding": (8, None), "ttt": (8, _TTT_CONFIG)}


@pytest.fixture(scope="module")
def figures():
    with np.load(ROOT / "tests/golden/parity/pr1493.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def model() -> GPT:
    gpt = GPT(MODEL_CONFIG)
    gpt.load_state_dict(parity_inputs.make_weights())
    return gpt


@pytest.mark.parametrize(("recurrent", "name"), [(False, "logits_plain"), (True, "logits_recurrent")])
def test_logits_are_the_records(figures, model, recurrent, name):
    with torch.no_grad():
        logits = model.logits(model(parity_inputs.make_tokens()[:64].view(2, 32), recurrent=recurrent))

    np.testing.assert_allclose(logits[:, ::8, ::13], figures[name], atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_loss_of_each_scoring_mode_is_the_records(figures, model, mode):
    tokens = parity_inputs.make_tokens().numpy().astype(np.uint16)
    stride, ttt_cfg = MODES[mode]
    predictor = GolfPredictor(model, context.single_process(), eval_batch_tokens=32 * 32)
    predictor.reset(stride=stride, ttt_cfg=ttt_cfg, n_chunks=5)
    ledger, progress = Ledger(mode, 1), Progress("t", 1, "x", quiet=True)
    scoring_loop.score_stream(predictor, tokens, np.ones(N_TOKENS - 1), ledger, chunk_tokens=160, progress=progress)

    assert bpb.compute_score(ledger.to_data()).loss == pytest.approx(float(figures[f"nll_{mode}"]), abs=1e-6)
    if mode == "ttt":
        np.testing.assert_allclose(model.tok_emb.weight.detach()[::13, ::8], figures["ttt_embedding"], atol=1e-6)


def test_hessians_of_recurrent_layers_are_the_records(figures, model):
    tokens = parity_inputs.make_tokens()
    batches = [tokens[128 * i : 128 * i + 128].view(4, 32) for i in range(5)]
    inputs = hessians.map_quantized_inputs(model.state_dict(), 0)

    hessian_by_input, *_ = hessians.collect_hessians(
        model, inputs, ((x, x) for x in batches), micro_rows=4, ctx=context.single_process()
    )

    for name in HESSIAN_LAYERS:
        expected = figures[f"hessian.{name}"]
        actual = hessian_by_input[inputs[f"{name}.weight"]].float()[::8, ::8].numpy() / len(batches)
        assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max(), name
