"""The model on a GPU: attention, precision, compilation, a hundred steps of training. Small on the CPU too, by the same
functions, so that what runs there has run here."""

import dataclasses
import json
import lzma
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch._dynamo.backends.registry import lookup_backend

from golf.config import loader
from golf.data.tokenizer import Tokenizer
from golf.distributed import context as distributed_context
from golf.distributed import device as distributed_device
from golf.inference.scorer import Scorer
from golf.model.attention import get_attention
from golf.model.gpt import GPT
from golf.training import loop, step
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG, make_tiny_corpus

GIGABYTES = 24  # of a training step at 98,304 tokens; the peers' takes 39 (record-stack 1.8)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
# Dynamo instantiates what is not to be instantiated, while it traces.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
RECORD = loader.load_config(ROOT / "profiles" / "record.yaml")


@pytest.fixture(scope="module", params=DEVICES)
def device(request) -> torch.device:
    if request.param == "cuda":
        request.getfixturevalue("gpu")
    return torch.device(request.param)


@pytest.fixture
def compile_backend(device, monkeypatch):
    """On a CPU what is traced runs as it is, so that no C++ compiler is needed; on a GPU Inductor compiles it."""
    compile_ = torch.compile
    if device.type == "cpu":
        backend = lookup_backend("eager")
        monkeypatch.setattr(torch, "compile", lambda function, **how: compile_(function, backend=backend, **how))
    elif lacking := distributed_device.missing_compiler(device):
        pytest.skip(f"needs {lacking}")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def shape_on(device: torch.device):
    """The record's on a GPU."""
    return RECORD.model if device.type == "cuda" else TINY_MODEL_CONFIG


def fresh(shape, device) -> GPT:
    """No weight is zero, so every part takes part."""
    model = GPT(shape).init_weights(torch.Generator().manual_seed(0))
    dice = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=dice) * 0.02)
    return model.to(device)


def windows(shape, device, rows: int = 2, seed: int = 2):
    ids = torch.randint(0, shape.vocab_size, (rows, shape.context + 1), generator=torch.Generator().manual_seed(seed))
    return ids[:, :-1].contiguous().to(device), ids[:, 1:].contiguous().to(device)


def exact_attention(q_BSHE, k_BTGE, v_BTGE, documents):
    """By definition, in float64."""
    q, k, v = (x.double().transpose(1, 2) for x in (q_BSHE, k_BTGE, v_BTGE))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    s, t = q.shape[2], k.shape[2]
    seen = torch.ones(s, t, dtype=torch.bool, device=q.device).tril(t - s)[None]
    if documents is not None:
        seen = seen & (documents[:, t - s :, None] == documents[:, None, :])
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~seen[:, None], -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("apart", [False, True], ids=["whole windows", "documents apart"])
@pytest.mark.parametrize("tail", [None, 64])
def test_every_attention_backend_is_within_bf16_of_a_float64_reference_and_so_are_its_gradients(device, tail, apart):
    shape, context = shape_on(device), 1024 if device.type == "cuda" else 128
    dice = torch.Generator().manual_seed(0)
    sizes = [(tail or context, shape.n_heads), (context, shape.n_kv_heads), (context, shape.n_kv_heads)]
    qkv = [
        torch.randn(2, length, heads, shape.head_dim, generator=dice).to(device).bfloat16() for length, heads in sizes
    ]
    documents = (torch.rand(2, context, generator=dice) < 4 / context).cumsum(1).to(device) if apart else None
    slope = torch.randn(2, tail or context, shape.n_heads, shape.head_dim, generator=dice).to(device)
    exact = [x.double().requires_grad_() for x in qkv]
    expected = exact_attention(*exact, documents)
    expected.backward(slope.double())
    names = [
        name
        for name in ("sdpa", *distributed_context.FLASH_MODULES)
        if distributed_device.backend_unavailable_reason(name, device, torch.bfloat16) is None
    ]
    for name in names:
        ours = [x.clone().requires_grad_() for x in qkv]
        y = get_attention(name)(*ours, documents)
        y.backward(slope.to(y.dtype))
        for found, wanted in zip([y, *(x.grad for x in ours)], [expected, *(x.grad for x in exact)], strict=True):
            error = (found.double() - wanted).norm() / wanted.norm()
            assert error < 0.01, name


def loss_and_gradients(
    model: GPT, here: distributed_context.DistContext, batch
) -> tuple[float, dict[str, torch.Tensor]]:
    value = here.maybe_compile(step.make_loss_fn(model, here))(*batch, True)
    value.backward()
    return value.item(), {name: parameter.grad.double() for name, parameter in model.named_parameters()}


def worst(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> tuple[float, str]:
    """The largest relative error of a tensor, and whose."""
    assert found.keys() == expected.keys()
    return max((float((found[name] - expected[name]).norm() / expected[name].norm()), name) for name in expected)


def test_loss_and_gradients_in_bf16_are_near_those_in_float64(device):
    shape, batch = shape_on(device), windows(shape_on(device), device)
    half = dataclasses.replace(distributed_context.single_process(str(device)), dtype=torch.bfloat16)
    loss, gradients = loss_and_gradients(fresh(shape, device), half, batch)
    exact = fresh(shape, device).double()
    nll = exact.nll(*batch, recurrent=True).mean()
    nll.backward()

    assert loss == pytest.approx(nll.item(), abs=0.01)
    found = torch.cat([gradients[name].flatten() for name in gradients])
    expected = torch.cat([parameter.grad.flatten() for parameter in exact.parameters()])
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.995


def test_a_compiled_loss_and_its_gradients_are_the_eager_ones(device, compile_backend):
    shape, batch = shape_on(device), windows(shape_on(device), device)
    here = dataclasses.replace(distributed_context.single_process(str(device)), dtype=torch.bfloat16)
    expected, eager = loss_and_gradients(fresh(shape, device), here, batch)
    loss, gradients = loss_and_gradients(fresh(shape, device), dataclasses.replace(here, compile=True), batch)
    assert loss == pytest.approx(expected, abs=0.005)
    error, name = worst(gradients, eager)
    assert error < 0.05, name


def test_compiled_scores_in_bf16_are_the_eager_ones(device, compile_backend):
    shape, stride = shape_on(device), shape_on(device).context_length // 4
    stream = np.random.default_rng(0).integers(0, shape.vocab_size, 2 * shape.context_length + 7).astype(np.uint16)
    here = dataclasses.replace(distributed_context.single_process(str(device)), dtype=torch.bfloat16)
    ours, expected = (
        Scorer(fresh(shape, device), each, eval_batch_tokens=2 * shape.context_length).score(
            stream[:1], stream[1:], stride=stride
        )
        for each in (dataclasses.replace(here, compile=True), here)
    )
    assert np.abs(ours - expected).max() < 0.2  # of a single token, in bf16
    assert ours.mean() == pytest.approx(expected.mean(), abs=0.003)


@dataclass(frozen=True)
class Trained:
    losses: list[float]
    vocabulary: int
    peak: int  # bytes on the GPU


def train(device, stream: np.ndarray, steps: int) -> Trained:
    """Steps at the record's rates from the record's start, the loop from half of them on; compiled on a GPU."""
    shape, big = shape_on(device), device.type == "cuda"
    tokens = 98_304 if big else 16 * shape.context_length
    execution = {"device": device.type, "ranks": 1, "compile": "auto" if big else "off", "warmup_steps": 1}
    budget = {"limit_s": None, "reserve_s": 0.0, "steps": steps, "batch_tokens": tokens}
    budget |= {"micro_tokens": min(tokens, RECORD.train.micro_batch_tokens)}
    kept = {"log_every": 1, "dev_every": None, "checkpoint_every": None, "ema_snapshots": 1}
    wanted = dataclasses.replace(RECORD.train, recurrence_from=0.5, **execution, **budget, **kept)
    here = distributed_device.init_context(wanted, "train")
    model = GPT(shape, here.attention).init_weights(torch.Generator().manual_seed(314)).to(here.device)
    dice, rows = np.random.default_rng(0), tokens // shape.context_length

    def batches():
        while True:
            starts = dice.integers(0, len(stream) - shape.context_length - 1, rows)
            ids = torch.from_numpy(
                np.stack([stream[s : s + shape.context_length + 1] for s in starts]).astype(np.int64)
            )
            yield ids[:, :-1].contiguous().to(device), ids[:, 1:].contiguous().to(device)

    if big:
        torch.cuda.reset_peak_memory_stats(device)
    dev = torch.from_numpy(stream[: shape.context_length + 1].astype(np.int64))[None]
    outcome = loop.train(model, batches(), wanted, here, dev_windows=dev, save_checkpoint=lambda *_: None)
    peak = torch.cuda.max_memory_allocated(device) if big else 0
    return Trained([row["loss"] for row in outcome.log], shape.vocab_size, peak)


def real_text() -> np.ndarray:
    """Tokens of the challenge's tokenizer, where real data lies beside the repository or in it."""
    folder = next((f for f in (ROOT.parent / "shared/data", ROOT / "shared/data") if f.is_dir()), None)
    if folder is None:
        pytest.skip("needs the real data in shared/data, beside the repository or in it")
    tokenizer = Tokenizer.open(folder / "tokenizers" / "fineweb_8192_bpe.model")
    with lzma.open(folder / "prose" / "prose.jsonl.xz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(next(lines))["text"] for _ in range(400)]
    return np.concatenate([tokenizer.encode(text) for text in texts]).astype(np.uint16)


@pytest.fixture(scope="module")
def trained_model(device) -> Trained:
    if device.type == "cuda":
        return train(device, real_text(), steps=100)
    return train(device, np.frombuffer("\n".join(make_tiny_corpus()).encode(), np.uint8), steps=60)


def test_training_on_real_text_starts_at_the_logarithm_of_the_vocabulary_and_leaves_it_far_below(trained_model):
    assert trained_model.losses[0] == pytest.approx(math.log(trained_model.vocab_size), abs=0.01)
    assert trained_model.losses[-1] < 0.75 * trained_model.losses[0]


@pytest.mark.parametrize("device", DEVICES[1:], indirect=True)
def test_the_record_model_jumps_at_its_second_step_as_the_records_own_does(device, trained_model):
    assert 11.5 < trained_model.losses[1] < 13.5  # 12.4 to 12.9 at 786,432 tokens a step (record-stack 6.1)


@pytest.mark.parametrize("device", DEVICES[1:], indirect=True)
def test_a_training_step_of_98304_tokens_fits_24_gigabytes(device, trained_model):
    assert trained_model.peak < GIGABYTES * 1e9


def test_training_on_random_tokens_finds_nothing_to_learn_and_stays_finite(device):
    shape = shape_on(device)
    stream = np.random.default_rng(1).integers(0, shape.vocab_size, 1_000_000).astype(np.uint16)
    losses = train(device, stream, steps=100 if device.type == "cuda" else 30).losses
    assert losses[-1] == pytest.approx(math.log(shape.vocab_size), abs=0.3)
