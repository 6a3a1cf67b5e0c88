"""The same tiny model through PR #1493's own functions and through ours."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from golf.data.text_bytes import ByteTable
from golf.data.tokenizer import Tokenizer
from golf.ground import runtime, store
from golf.ground.progress import Progress
from golf.ground.shape import Shape
from golf.method import Method
from golf.model.gpt import GPT
from golf.quant import hessian
from golf.score import bpb, passes
from golf.score.ledger import Ledger

SHAPE = Shape(
    vocabulary=1024,
    layers=6,
    width=64,
    heads=4,
    kv_heads=2,
    mlp_width=256,
    context=128,
    rope_dims=8,
    rope_base=10000.0,
    qk_gain=5.25,
    leaky_slope=0.5,
    softcap=30.0,
    embed_std=0.005,
    loop_start=1,
    loop_end=2,
    loop_passes=3,
    parallel_from=4,
    xsa_from=0,
    document_bos=None,
)
PLAN = SimpleNamespace(lr=0.01, momentum=0.9, epochs=2, clip=1.0, batch_tokens=1024)
WAYS = {"plain": (128, None), "sliding": (16, None), "ttt": (16, PLAN)}


@pytest.fixture(scope="module")
def record(shared_data):
    folder = shared_data / "parity"
    return load_file(folder / "tiny.safetensors"), store.read_json(folder / "tiny.json")


@pytest.fixture
def model(record):
    made = GPT(SHAPE)
    made.load_state_dict({name[2:]: tensor for name, tensor in record[0].items() if name.startswith("w.")})
    return made


@pytest.mark.parametrize(("looped", "name"), [(False, "logits_plain"), (True, "logits_looped")])
def test_logits_are_the_records(record, model, looped, name):
    with torch.no_grad():
        logits = model.logits(model(record[0]["tokens"][:256].view(2, 128), looped=looped))

    assert (logits - record[0][name]).abs().max() <= 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_losses_and_bpb_of_each_way_of_scoring_are_the_records(record, model, shared_data, way):
    stream = record[0]["tokens"].numpy().astype(np.uint16)
    table = ByteTable.of(Tokenizer.open(shared_data / "tokenizers" / "fineweb_1024_bpe.model"))
    stride, plan = WAYS[way]
    method = Method(model, runtime.alone(), score_tokens=128 * 32).begin(stride=stride, plan=plan, chunks=6)
    line = Progress("t", 1, "x", quiet=True)
    ledger = passes.complete(method, stream, table.count(stream), Ledger(way, 1), chunk_tokens=1024, line=line)

    score = bpb.score(ledger.columns())
    assert [score.loss, score.bpb] == pytest.approx(record[1][way], abs=1e-6)
    if way == "ttt":
        assert (model.tok_emb.weight - record[0]["ttt_tok_emb_after"]).abs().max() <= 1e-6


def test_hessians_of_looped_layers_are_the_records(record, model):
    tokens = record[0]["tokens"]
    batches = [(tokens[512 * i : 512 * i + 512].view(4, 128), None) for i in range(6)]
    inputs = hessian.inputs(model.state_dict(), 0)

    found, *_ = hessian.collect(
        model,
        inputs,
        ((x, x) for x, _ in batches),
        micro_rows=4,
        here=runtime.alone(),
        progress=Progress("t", 1, "x", quiet=True),
    )

    for name in ("blocks.3.attn.c_q", "blocks.3.mlp.fc", "blocks.3.mlp.proj"):
        expected = record[0][f"{name}.H"]
        ours = found[inputs[f"{name}.weight"]].float() / 6
        assert ((ours - expected).abs().max() / expected.abs().max()).item() < 1e-5
