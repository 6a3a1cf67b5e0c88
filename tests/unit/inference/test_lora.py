"""golf/inference/lora.py against a reference written from docs/references.md#lora-ttt, and identity at the start"""

import itertools
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golf.distributed.context import single_process
from golf.inference.document_scorer import DocumentScorer
from golf.inference.interface import ScoredChunk
from golf.inference.lora import Adapters, DocumentLoRA
from golf.inference.scorer import Scorer
from golf.model.gpt import GPT, apply_rope, exclusive_self_attention, rms_norm

BOS = 1
NAMES = ("q", "k", "v", "o", "mlp", "head")
LORA = {"rank": 3, "alpha": 6.0, "beta1": 0.0, "beta2": 0.99, "weight_decay": 0.5, "seed": 5}
RNG = np.random.default_rng(0)
STREAM = RNG.integers(2, 60, 300).astype(np.uint16)
STREAM[[0, 40, 41, 200]] = BOS
CONTEXT = single_process()


def make_config(names=NAMES, **changes) -> SimpleNamespace:
    lora = SimpleNamespace(**LORA, **{name: name in names for name in NAMES})
    values = {"method": "lora", "lora": lora, "phased": None, "lr": 0.01, "epochs": 1, "batch_tokens": 1024}
    return SimpleNamespace(**values | changes)


@pytest.fixture
def model(tiny_model_config) -> GPT:
    rng = torch.Generator().manual_seed(0)
    model = GPT(tiny_model_config).init_weights(rng)
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=rng)  # no projection is zero
    return model.double()


def make_lora(model, cfg=None, scorer_class=DocumentScorer) -> DocumentLoRA:
    scorer = Scorer(model, CONTEXT, eval_batch_tokens=128)
    source = DocumentScorer(scorer) if scorer_class is DocumentScorer else scorer
    return DocumentLoRA(model, cfg or make_config(), CONTEXT, source, source)


def run(lora, stream=STREAM, chunk_tokens=32, learns=True) -> np.ndarray:
    parts = []
    for index, begin in enumerate(range(0, len(stream) - 1, chunk_tokens)):
        chunk = stream[begin : begin + chunk_tokens + 1]
        parts.append(lora.score(stream[: begin + 1], chunk[1:], stride=8))
        if learns:
            lora.train_on_chunk(ScoredChunk(index, chunk, False, ""))
    return np.concatenate(parts)


def reference_logits(model, tokens_T, pairs, scale) -> torch.Tensor:
    """The network of one document with its adapters, block by block by their definition: float64 [T, V]."""
    cfg, weights = model.cfg, {name: tensor.double() for name, tensor in model.state_dict().items()}
    rope = tuple(table[: len(tokens_T)].double() for table in (model.rope_cos, model.rope_sin))
    encoder, decoder = cfg.layer_order(recurrent=True)

    def adapt(out, place, name, x):
        if (place, name) not in pairs:
            return out
        down, up = (matrix.double() for matrix in pairs[place, name])
        return out + scale * (x @ down.T @ up.T)

    def run_block(x, x0, layer, place):
        get = lambda name: weights[f"blocks.{layer}.{name}"]  # noqa: E731
        x = get("resid_mix")[0] * x + get("resid_mix")[1] * x0
        n = rms_norm(x) / (layer + 1) ** 0.5
        heads = {
            name: adapt(n @ get(f"attn.c_{name}.weight").T, place, name, n).view(1, len(n), -1, cfg.head_dim)
            for name in "qkv"
        }
        q = apply_rope(rms_norm(heads["q"]), rope, 0, len(n)) * get("attn.q_gain")[:, None]
        k = apply_rope(rms_norm(heads["k"]), rope, 0, len(n))
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, heads["v"]))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)
        if layer >= cfg.xsa_from:
            y = exclusive_self_attention(y, heads["v"])
        attn = adapt(y.reshape(len(n), -1) @ get("attn.proj.weight").T, place, "o", n)
        x = x + get("attn_scale") * attn
        m = n if layer >= cfg.parallel_residual_from else rms_norm(x) / (layer + 1) ** 0.5
        hidden = F.leaky_relu(m @ get("mlp.fc.weight").T, cfg.leaky_slope).square()
        return x + get("mlp_scale") * adapt(hidden @ get("mlp.proj.weight").T, place, "mlp", m)

    x = x0 = rms_norm(weights["tok_emb.weight"][tokens_T])
    skips = []
    for place, layer in enumerate(encoder):
        x = run_block(x, x0, layer, place)
        skips.append(x)
    for position, layer in enumerate(decoder):
        if skips:
            gate = torch.sigmoid(weights["skip_gates"][position])
            x = gate * x + (1 - gate) * weights["skip_weights"][position] * skips.pop()
        x = run_block(x, x0, layer, len(encoder) + position)
    x = rms_norm(x)
    z = adapt(x @ weights["tok_emb.weight"].T, -1, "head", x)
    return cfg.softcap * torch.tanh(z / cfg.softcap)


@pytest.mark.parametrize("names", [NAMES, ("q",), ("o", "head"), ("k", "v", "mlp")])
def test_the_forward_pass_with_adapters_is_that_of_their_definition(model, names):
    adapters = Adapters(model, make_config(names).lora)
    adapters.draw(3)
    for weight in adapters.weights:
        weight.data += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    tokens = torch.from_numpy(STREAM[:25].astype(np.int64))
    expected = reference_logits(model, tokens, adapters.pairs, 2.0)
    with torch.no_grad(), adapters.apply():
        logits = model.logits(model(tokens[None], recurrent=True))[0]
        last = model.logits(model(tokens[None], recurrent=True, last_n=4))[0]
    torch.testing.assert_close(logits.double(), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(last.double(), expected[-4:], atol=2e-6, rtol=0)
    with torch.no_grad():
        assert (model.logits(model(tokens[None], recurrent=True))[0] - logits).abs().max() > 1e-3, (
            "none are left behind"
        )


def test_drawn_adapters_change_nothing(model):
    adapters = Adapters(model, make_config().lora)
    adapters.draw(3)
    tokens = torch.from_numpy(STREAM[None, :32].astype(np.int64))
    with torch.no_grad():
        plain = model.logits(model(tokens, recurrent=True))
        with adapters.apply():
            torch.testing.assert_close(model.logits(model(tokens, recurrent=True)), plain, atol=0, rtol=0)
    for (_, name), (down, up) in adapters.pairs.items():
        assert 0.9 / down.shape[1] ** 0.5 < down.abs().max() <= 1 / down.shape[1] ** 0.5, name
        assert not up.any()


def test_the_gradient_is_that_of_the_references_mean_nll(model):
    lora = make_lora(model)
    lora.adapters.draw(3)
    for weight in lora.adapters.weights:
        weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    document = STREAM[41:80]
    x, y, counts = lora._make_windows(document, 20)
    assert (int(counts.sum()), len(x)) == (20, 1)
    pairs = {
        key: tuple(w.detach().double().requires_grad_() for w in pair) for key, pair in lora.adapters.pairs.items()
    }
    tokens = torch.from_numpy(document.astype(np.int64))
    loss = F.cross_entropy(reference_logits(model, tokens[-33:-1], pairs, 2.0)[-20:], tokens[-20:])
    expected = torch.autograd.grad(loss, [weight for pair in pairs.values() for weight in pair])
    for actual, gradient in zip(lora.compute_gradient(x, y, counts), expected, strict=True):
        torch.testing.assert_close(actual.double(), gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("chunk_tokens", [16, 32])
def test_scores_are_those_of_a_reference_that_learns_document_by_document(model, chunk_tokens):
    """Written from the definition: score a piece of a document, take an AdamW step, go on; each document afresh."""
    cfg = make_config(lr=0.003)
    expected = []
    starts = [*np.flatnonzero(STREAM == BOS).tolist(), len(STREAM) - 1]
    adapters = Adapters(model, cfg.lora)
    for start, next_start in itertools.pairwise(starts):
        optimizer, begin = None, start
        while begin < next_start:
            end = min(next_start, (begin // chunk_tokens + 1) * chunk_tokens)  # targets begin + 1 to end
            for p in range(begin, end):  # a window on the document's grid, as the fixed model scores it
                local = p - start
                window = 0 if local < 32 else (local - 32) // 8 * 8 + 8
                tokens = torch.from_numpy(STREAM[start + window : p + 1].astype(np.int64))
                pairs = adapters.pairs if optimizer else {}
                with torch.no_grad():
                    logits = reference_logits(model, tokens, pairs, 2.0)[-1]
                expected.append(F.cross_entropy(logits, torch.tensor(int(STREAM[p + 1]))).item())
            if end < next_start:  # the document goes on
                if optimizer is None:
                    adapters.draw(cfg.lora.seed ^ zlib.crc32(STREAM[start : end + 1].astype("<u2").tobytes()))
                    optimizer = torch.optim.AdamW(adapters.weights, 0.003, (0.0, 0.99), eps=1e-10, weight_decay=0.5)
                first = max(start, end - 32)
                tokens = torch.from_numpy(STREAM[first : end + 1].astype(np.int64))
                n = end - begin
                loss = F.cross_entropy(reference_logits(model, tokens[:-1], adapters.pairs, 2.0)[-n:], tokens[-n:])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            begin = end
    nll = run(make_lora(model, cfg), chunk_tokens=chunk_tokens)
    np.testing.assert_allclose(nll, expected, atol=1e-6)
    assert np.abs(nll - run(make_lora(model, cfg), chunk_tokens=chunk_tokens, learns=False)).max() > 0.01


def test_without_updates_scores_are_those_of_the_fixed_model_bit_for_bit(model):
    for scorer_class in (DocumentScorer, Scorer):
        lora = make_lora(model, scorer_class=scorer_class)
        fixed = lora._scorer.score(STREAM[:1], STREAM[1:], stride=8)
        np.testing.assert_allclose(run(lora, learns=False), fixed, atol=1e-5)
        np.testing.assert_array_equal(lora.score(STREAM[:1], STREAM[1:], stride=8), fixed)


def test_another_document_before_changes_no_score_bit_for_bit(model):
    changed = STREAM.copy()
    changed[1:41] = 9
    before, after = (run(make_lora(model), stream) for stream in (STREAM, changed))
    np.testing.assert_array_equal(before[199:], after[199:])
    assert not np.array_equal(before[:40], after[:40])


def test_predictions_hold_the_scores(model):
    lora = make_lora(model)
    for index, begin in enumerate(range(0, 299, 32)):
        chunk = STREAM[begin : begin + 33]
        nll = lora.score(STREAM[: begin + 1], chunk[1:], stride=8)
        for row in (0, 8, len(nll) - 1):
            predicted, _ = lora.predict(STREAM[: begin + 1 + row], stride=8)
            assert -predicted[chunk[row + 1]] == pytest.approx(nll[row], abs=2e-5)
        lora.train_on_chunk(ScoredChunk(index, chunk, False, ""))


def test_anything_but_a_sealed_chunk_is_refused(model):
    with pytest.raises(TypeError, match="a ScoredChunk, got ndarray"):
        make_lora(model).train_on_chunk(STREAM)
