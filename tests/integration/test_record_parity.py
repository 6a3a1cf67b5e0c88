"""The same tiny model through PR #1493's own functions and through ours."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from golf.artifacts import io
from golf.config.model import ModelConfig
from golf.data.byte_counts import TokenByteTable
from golf.data.tokenizer import Tokenizer
from golf.distributed import context
from golf.evaluation import bpb, scoring_loop
from golf.evaluation.ledger import Ledger
from golf.inference.predictor import GolfPredictor
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.quantization import hessians

SHAPE = ModelConfig(
    vocab_size=1024,
    n_layers=6,
    d_model=64,
    n_heads=4,
    n_kv_heads=2,
    d_ff=256,
    context_length=128,
    rope_dims=8,
    rope_base=10000.0,
    qk_gain=5.25,
    leaky_slope=0.5,
    softcap=30.0,
    embed_std=0.005,
    recur_start=1,
    recur_end=2,
    recur_passes=3,
    parallel_residual_from=4,
    xsa_from=0,
    doc_mask_bos_id=None,
)
PLAN = SimpleNamespace(lr=0.01, momentum=0.9, epochs=2, grad_clip=1.0, batch_tokens=1024)
WAYS = {"plain": (128, None), "sliding": (16, None), "ttt": (16, PLAN)}


@pytest.fixture(scope="module")
def reference(shared_data):
    folder = shared_data / "parity"
    return load_file(folder / "tiny.safetensors"), io.read_json(folder / "tiny.json")


@pytest.fixture
def model(reference):
    made = GPT(SHAPE)
    made.load_state_dict({name[2:]: tensor for name, tensor in reference[0].items() if name.startswith("w.")})
    return made


@pytest.mark.parametrize(("looped", "name"), [(False, "logits_plain"), (True, "logits_looped")])
def test_logits_are_the_records(reference, model, looped, name):
    with torch.no_grad():
        logits = model.logits(model(reference[0]["tokens"][:256].view(2, 128), recurrent=looped))

    assert (logits - reference[0][name]).abs().max() <= 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_losses_and_bpb_of_each_way_of_scoring_are_the_records(reference, model, shared_data, way):
    stream = reference[0]["tokens"].numpy().astype(np.uint16)
    table = TokenByteTable.from_tokenizer(Tokenizer.open(shared_data / "tokenizers" / "fineweb_1024_bpe.model"))
    stride, plan = WAYS[way]
    method = GolfPredictor(model, context.single_process(), eval_batch_tokens=128 * 32).reset(
        stride=stride, ttt_cfg=plan, n_chunks=6
    )
    line = Progress("t", 1, "x", quiet=True)
    ledger = scoring_loop.score_whole_stream(
        method, stream, table.count_bytes(stream), Ledger(way, 1), chunk_tokens=1024, progress=line
    )

    score = bpb.compute_score(ledger.to_data())
    assert [score.loss, score.bpb] == pytest.approx(reference[1][way], abs=1e-6)
    if way == "ttt":
        assert (model.tok_emb.weight - reference[0]["ttt_tok_emb_after"]).abs().max() <= 1e-6


def test_hessians_of_looped_layers_are_the_records(reference, model):
    tokens = reference[0]["tokens"]
    batches = [(tokens[512 * i : 512 * i + 512].view(4, 128), None) for i in range(6)]
    inputs = hessians.quantized_inputs(model.state_dict(), 0)

    found, *_ = hessians.collect_hessians(
        model,
        inputs,
        ((x, x) for x, _ in batches),
        micro_rows=4,
        ctx=context.single_process(),
        progress=Progress("t", 1, "x", quiet=True),
    )

    for name in ("blocks.3.attn.c_q", "blocks.3.mlp.fc", "blocks.3.mlp.proj"):
        expected = reference[0][f"{name}.H"]
        ours = found[inputs[f"{name}.weight"]].float() / 6
        assert ((ours - expected).abs().max() / expected.abs().max()).item() < 1e-5
