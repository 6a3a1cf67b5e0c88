"""golf.load: nll, logprobs and generate of an artifact, and what it refuses to open"""

import dataclasses

import numpy as np
import pytest
import torch

import golf
from golf.config import loader
from golf.data import normalize
from golf.data.eval_stream import EvalStream
from golf.distributed.context import single_process
from golf.errors import ArtifactError, DivergenceError, InputError
from golf.evaluation import bpb, scoring_loop
from golf.evaluation.text_codec.next_token import PredictSource
from golf.inference.predictor import GolfPredictor
from tests.helpers.tiny_artifact import VOCAB_SIZE, write_tiny_artifact
from tests.helpers.tiny_corpus import ROOT, make_tiny_corpus

TEXT = "  ".join(make_tiny_corpus()[:3])
TTT_CONFIG = dataclasses.replace(loader.load_config(ROOT / "profiles/laptop.yaml").ttt, chunk_tokens=64, stride=8)
T = 32  # the tiny model's context


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_tiny_artifact(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def model(paths):
    return golf.load(str(paths.artifact))


@pytest.mark.parametrize(("mode", "stride"), [("plain", T), ("sliding", 8), ("sliding", 5)])
def test_nll_is_what_evaluate_writes_into_the_ledger_of_the_same_text(paths, model, mode, stride):
    score = model.nll(TEXT, stride=stride)
    normalized = normalize.normalize(TEXT)
    sizes = np.array([len(piece) for piece in model.tokenizer.ids_to_bytes(score.tokens[1:])])
    stream = EvalStream(score.tokens, sizes, model.tokenizer.bos)
    predictor = GolfPredictor.open(str(paths.artifact), single_process(), eval_batch_tokens=4 * T)
    result = scoring_loop.evaluate_mode(
        predictor, stream, mode, ttt_cfg=TTT_CONFIG, stride=stride, context_length=T, quiet=True, stage="test"
    )
    assert len(score.nll) > 3 * T
    np.testing.assert_allclose(score.nll, np.concatenate(result.ledger.nll), atol=1e-5)
    assert score.n_bytes == len(normalized.encode())
    expected = bpb.compute_score(result.ledger.to_data())
    assert (score.bits_per_byte, score.total) == pytest.approx((expected.bpb, expected.loss * expected.n_tokens))


def test_a_stride_beyond_the_context_gives_plain_windows_and_an_empty_text_costs_nothing(model):
    np.testing.assert_array_equal(model.nll(TEXT, stride=1 << 20).nll, model.nll(TEXT, stride=T).nll)
    empty = model.nll(" \n")
    assert (empty.tokens.tolist(), empty.total, empty.n_bytes, empty.bits_per_byte) == (
        [model.tokenizer.bos], 0.0, 0, None,
    )  # fmt: skip


@pytest.mark.parametrize("stride", [T, 8])
def test_logprobs_are_distributions_that_hold_the_nll_of_the_next_token(model, stride):
    score = model.nll(TEXT, stride=stride)
    log_probs = model.logprobs(score.tokens, stride=stride)
    assert log_probs.shape == (len(score.tokens), VOCAB_SIZE)
    np.testing.assert_allclose(np.exp(log_probs.astype(np.float64)).sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(log_probs[np.arange(len(score.nll)), score.tokens[1:]], -score.nll, atol=1e-5)
    assert model.logprobs([]).shape == (0, VOCAB_SIZE)
    np.testing.assert_array_equal(model.logprobs(score.tokens.tolist(), stride=stride), log_probs)


@pytest.mark.parametrize("tokens", [[-1], [VOCAB_SIZE], [0.5], [[1, 2]], "text"])
def test_ids_that_the_model_does_not_have_are_refused(model, tokens):
    with pytest.raises(InputError, match=r"^tokens must be"):
        model.logprobs(tokens)


@pytest.mark.parametrize("prompt", ["", "The old clerk", TEXT], ids=["empty", "short", "longer than the context"])
@pytest.mark.parametrize("stride", [T, 8])
def test_the_likeliest_continuation_is_the_one_that_the_predictor_predicts(model, paths, prompt, stride):
    generated = list(model.generate(prompt, max_tokens=T + 9, temperature=0, stride=stride))
    tokens = model.encode(prompt)
    predictor = GolfPredictor.open(str(paths.artifact), single_process(), eval_batch_tokens=T)
    source = PredictSource(predictor.reset(stride=stride))
    for token in generated:
        probs = source.next_probs(tokens, len(tokens))
        allowed = [i for i in range(VOCAB_SIZE) if i == model.tokenizer.bos or not model.tokenizer.is_special(i)]
        assert probs[token.token] == pytest.approx(probs[allowed].max(), rel=1e-4)
        assert token.log_prob == pytest.approx(np.log(probs[token.token]), abs=1e-4)
        tokens = np.append(tokens, np.uint16(token.token))
    assert len(generated) == T + 9 or generated[-1].token == model.tokenizer.bos


def generate_ids(model, *prompt, **options):
    return [token.token for token in model.generate(*prompt, max_tokens=40, **options)]


def test_a_seed_decides_the_tokens_and_two_generations_may_run_at_once(model):
    first = generate_ids(model, "The baker", seed=1)
    assert generate_ids(model, "The baker", seed=1) == first
    assert generate_ids(model, "The baker", seed=2) != first
    pairs = zip(
        model.generate("The baker", max_tokens=40, seed=1), model.generate(TEXT, max_tokens=40, seed=3), strict=False
    )
    assert [a.token for a, _ in pairs] == first[: len(generate_ids(model, TEXT, seed=3))]


def test_a_document_ends_at_the_id_that_starts_the_next_one(model):
    ends = [generate_ids(model, seed=seed) for seed in range(60)]
    ended = [ids for ids in ends if model.tokenizer.bos in ids]
    assert ended
    assert all(ids.index(model.tokenizer.bos) == len(ids) - 1 for ids in ended)
    assert all(len(ids) == 40 for ids in ends if ids not in ended)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_tokens", 0), ("max_tokens", 10**9), ("temperature", -1.0), ("temperature", float("nan")),
        ("temperature", float("inf")), ("top_p", 0.0), ("top_p", 1.5), ("seed", -1), ("stride", 0),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_at_once(model, option, value):
    with pytest.raises(InputError, match=f"^{option} must be .*, got {value}"):
        model.generate("The", **{option: value})


def test_the_tokenizer_is_found_beside_the_artifact_or_given(paths, tmp_path):
    moved = tmp_path / "model.golf"
    moved.write_bytes(paths.artifact.read_bytes())
    with pytest.raises(InputError, match=r"model\.golf: no tokenizer is at .*tokenizer\.model or .*; give its path"):
        golf.load(moved)
    assert golf.load(moved, paths.tokenizer).tokenizer.vocab_size == VOCAB_SIZE
    (tmp_path / "tokenizer.model").write_bytes(paths.tokenizer.read_bytes())
    assert golf.load(moved).tokenizer.name == str(tmp_path / "tokenizer.model")


def test_a_tokenizer_of_another_vocabulary_or_document_start_is_refused(paths, tmp_path):
    larger = write_tiny_artifact(tmp_path / "larger", vocab_size=384)
    with pytest.raises(InputError, match=r"tokenizer\.model: has 320 pieces, but .*model\.golf predicts 384; give"):
        golf.load(larger.artifact)
    other = write_tiny_artifact(tmp_path / "other", doc_mask_bos_id=7)
    with pytest.raises(InputError, match=r"starts a document with id \d+, but .*model\.golf with 7; give"):
        golf.load(other.artifact)


def test_a_missing_or_damaged_file_is_one_message_that_names_it(paths, tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.golf: not found"):
        golf.load(tmp_path / "none.golf", paths.tokenizer)
    damaged = tmp_path / "damaged.golf"
    damaged.write_bytes(paths.artifact.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"damaged\.golf: has "):
        golf.load(damaged, paths.tokenizer)
    with pytest.raises(InputError, match=r"none\.model: no such tokenizer file"):
        golf.load(paths.artifact, tmp_path / "none.model")


def test_weights_that_are_not_finite_are_refused_where_they_are_used(tmp_path):
    model = golf.load(write_tiny_artifact(tmp_path).artifact)
    with torch.no_grad():
        model._predictor.initial_weights["tok_emb.weight"].fill_(float("nan"))
    with pytest.raises(DivergenceError, match="the nll of token 1 is not finite"):
        model.nll("The old clerk")
    with pytest.raises(DivergenceError, match="the distribution of token 1 is not finite"):
        next(model.generate(""))


def test_a_transform_of_the_manifest_is_applied_and_undone(tmp_path):
    model = golf.load(write_tiny_artifact(tmp_path, transform="caseops").artifact)
    tokens = model.encode("The OLD clerk")
    assert "".join(model.tokenizer.pieces[i] for i in tokens[1:]).islower()
    assert model.nll("The OLD clerk").n_bytes == len("The OLD clerk")
    texts = ["".join(t.text for t in model.generate("The", max_tokens=60, seed=seed)) for seed in range(3)]
    assert not any(0xE001 <= ord(character) <= 0xE004 for character in "".join(texts))
    assert any(character.isupper() for character in "".join(texts))
