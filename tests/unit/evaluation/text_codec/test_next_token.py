"""golf/evaluation/text_codec/next_token.py and kv_cache.py against the batched pass and the predictor's scores"""

import dataclasses

import numpy as np
import pytest
import torch

from golf.config import loader
from golf.distributed.context import single_process
from golf.evaluation.text_codec.kv_cache import KVCacheModel
from golf.evaluation.text_codec.next_token import IncrementalSource, PredictSource
from golf.inference.interface import ScoredChunk
from golf.inference.predictor import GolfPredictor
from golf.model.gpt import GPT
from tests.helpers.compiled_work import STREAM, TTT_CONFIG
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG

T = TINY_MODEL_CONFIG.context_length
MEMORY_CONFIG = loader.load_config(ROOT / "profiles/laptop.yaml").memory
VARIANTS = {
    "loop, parallel, XSA": {},
    "documents": {"doc_mask_bos_id": 3},
    "no rotation": {"rope_dims": 0},
    "whole heads rotated": {"rope_dims": 8},
    "odd heads": {"d_model": 36, "n_heads": 4, "n_kv_heads": 1, "rope_dims": 6},
    "no XSA": {"xsa_from": 4},
    "no parallel layer": {"parallel_residual_from": 4},
    "one layer": {"n_layers": 1, "recur_start": 0, "recur_end": 0, "recur_passes": 1, "parallel_residual_from": 1},
    "three passes": {"recur_start": 0, "recur_end": 3, "recur_passes": 3},
    "steep": {"leaky_slope": 1.5, "softcap": 5.0},
    "negative slope": {"leaky_slope": -0.5},
    "scores beyond exp": {"qk_gain": 90.0},
    "dense gate": {"attn_gate": "dense"},
    "sparse gate, two lanes": {"attn_gate": "sparse", "two_lane_from": 3},
    "output gate, two caps": {"attn_gate": "output", "asym_softcap": True, "softcap": 5.0},
    "SmearGate": {"smear_gate_bos_id": 3},
    "short convolution": {"conv_kernel": 4},
    "short convolution within documents": {"conv_kernel": 3, "doc_mask_bos_id": 3},
    "short convolution, two lanes": {"conv_kernel": 2, "two_lane_from": 3},
    "two lanes of two layers, no loop": {"two_lane_from": 2, "recur_passes": 1, "doc_mask_bos_id": 3},
}


def make_model(**changes) -> GPT:
    model = GPT(dataclasses.replace(TINY_MODEL_CONFIG, **changes)).init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    return model


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_a_step_gives_the_logits_of_the_batched_pass(changes):
    model, tokens = make_model(**changes), np.random.default_rng(0).integers(0, 20, T).astype(np.uint16)
    kv_model = KVCacheModel(model)
    with torch.no_grad():
        inputs = torch.from_numpy(tokens.astype(np.int64))[None]
        expected = model.double().logits(model(inputs, recurrent=True))[0].numpy()
    model.float()
    for n_before in (0, 1, T // 2):
        kv_model.begin_window(tokens[:n_before])
        actual = [kv_model.step(int(token)).copy() for token in tokens[n_before:]]
        np.testing.assert_allclose(np.stack(actual), expected[n_before:], atol=5e-4)
    with pytest.raises(IndexError, match="full"):
        kv_model.step(0)


@pytest.mark.parametrize("stride", [T, 8, 5, 1])
@pytest.mark.parametrize(
    "memory_cfg", [None, MEMORY_CONFIG, dataclasses.replace(MEMORY_CONFIG, scope="document", tilt_order=2)]
)
def test_both_sources_give_the_distributions_that_the_predictor_scores_with(stride, memory_cfg):
    predictor = GolfPredictor(make_model(), single_process(), eval_batch_tokens=8 * T)
    predictor.reset(stride=stride, ttt_cfg=memory_cfg and TTT_CONFIG, memory_cfg=memory_cfg, n_chunks=3)
    stream = np.concatenate([STREAM[:90], STREAM[20:80]])  # repeats, for the memory to find
    sources = IncrementalSource(predictor, stride=stride), PredictSource(predictor)
    for index, begin in enumerate(range(0, len(stream) - 1, 2 * T)):
        chunk = stream[begin + 1 : begin + 1 + 2 * T]
        expected = [predictor.predict(stream[: begin + 1 + row]) for row in range(len(chunk))]
        for source in sources:
            source.begin_chunk(begin, begin + len(chunk))
            known = np.where(np.arange(len(stream)) <= begin, stream, 0)
            for position in range(len(chunk)):
                probs = source.next_probs(known, begin + position + 1)
                np.testing.assert_allclose(np.log(probs), expected[position], atol=1e-4)
                known[begin + 1 + position] = chunk[position]
        predictor.update(ScoredChunk(index, stream[begin : begin + 1 + len(chunk)], False, ""))
