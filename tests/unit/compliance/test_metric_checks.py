"""golf/compliance/metric_checks.py: ledger, bytes and the score itself, each check shown to pass and to fail"""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from golf.compliance import metric_checks
from golf.data.roundtrip import RoundtripReport
from golf.errors import ArtifactError
from golf.evaluation import evaluator
from golf.evaluation.ledger import Ledger
from tests.helpers.fake_session import FakeSession, FixedBigrams, random_stream

PLAN = SimpleNamespace(chunk_tokens=25, stride=8)
TEXT = random_stream(60, 20)


@pytest.fixture
def ledger_check_args(tmp_path):
    """The arguments of of_ledger for an honest pass."""
    named = evaluator.evaluate_mode(
        FakeSession(FixedBigrams(20)), TEXT, "plain", ttt_cfg=PLAN, stride=8, context_length=8, quiet=True, stage="test"
    )
    named.ledger.save(tmp_path / "plain.safetensors")
    reported = {"val_bpb": named.score.bpb, "val_bpb_plain": named.score.bpb, "val_loss": named.score.loss}
    return {"path": tmp_path / "plain.safetensors", "stream": TEXT, "named": named, "reported": reported, "calls": 3}


def of_ledger(scored, **changes) -> dict[str, str]:
    return {each.check: each.status for each in metric_checks.check_ledger(**scored | changes)}


def test_an_honest_ledger_passes(ledger_check_args):
    assert of_ledger(ledger_check_args) == dict.fromkeys(("C3-a", "C4-a", "C4-b", "M-e"), "PASS")


def test_more_scores_than_seals_are_caught(ledger_check_args):
    assert of_ledger(ledger_check_args, n_calls=4) == {"C3-a": "PASS", "C4-a": "PASS", "C4-b": "FAIL", "M-e": "PASS"}


def test_a_ledger_whose_chain_is_sound_but_is_not_the_one_of_the_pass_is_caught_and_its_calls_are_not(
    ledger_check_args, tmp_path
):
    made, ledger = Ledger("plain", TEXT.bos), ledger_check_args["named"].ledger
    for index, nll in enumerate(ledger.nll):
        begin = index * 25
        better = nll - np.float32(1e-9 + 0.5 * (index == 2))
        made.append(TEXT.tokens[begin : begin + len(nll) + 1], better, ledger.bytes[index], is_last=index == 2)
    made.save(tmp_path / "again.safetensors")
    found = of_ledger(ledger_check_args, ledger_path=tmp_path / "again.safetensors")
    assert (found["C3-a"], found["C4-b"]) == ("FAIL", "PASS")


def test_a_ledger_of_part_of_the_text_is_caught(ledger_check_args, tmp_path):
    part = Ledger("plain", TEXT.bos)
    ledger = ledger_check_args["named"].ledger
    for index in range(2):
        cut = slice(index * 25, index * 25 + 25)
        part.append(TEXT.tokens[cut.start : cut.stop + 1], ledger.nll[index], ledger.bytes[index], is_last=False)
    part.save(tmp_path / "part.safetensors")
    assert of_ledger(ledger_check_args, ledger_path=tmp_path / "part.safetensors", n_calls=2)["C4-a"] == "FAIL"


@pytest.mark.parametrize(("least", "status"), [(-1.0, "FAIL"), (-1e-3, "FAIL"), (-1e-6, "PASS"), (0.0, "PASS")])
def test_a_score_below_zero_is_caught_and_rounding_is_not(ledger_check_args, tmp_path, least, status):
    made = Ledger("plain", TEXT.bos)
    ledger = ledger_check_args["named"].ledger
    for index, nll in enumerate(ledger.nll):
        nll = nll.copy()
        nll[-1] = least if index == 1 else nll[-1]
        begin = index * 25
        made.append(TEXT.tokens[begin : begin + len(nll) + 1], nll, ledger.bytes[index], is_last=index == 2)
    made.save(tmp_path / "low.safetensors")
    assert of_ledger(ledger_check_args, ledger_path=tmp_path / "low.safetensors")["C4-a"] == status


def test_other_bytes_than_the_text_s_are_caught(ledger_check_args):
    other = dataclasses.replace(TEXT, bytes=TEXT.target_bytes[::-1] + np.arange(60) % 2)
    assert of_ledger(ledger_check_args, stream=other)["C4-a"] == "FAIL"


@pytest.mark.parametrize("key", ["val_bpb", "val_bpb_plain", "val_loss"])
def test_a_figure_that_is_not_the_ledgers_is_caught(ledger_check_args, key):
    off = ledger_check_args["reported"] | {key: ledger_check_args["reported"][key] - 1e-5}
    assert of_ledger(ledger_check_args, metrics=off)["M-e"] == "FAIL"


def test_a_ledger_that_was_edited_is_no_ledger(ledger_check_args):
    data = bytearray(ledger_check_args["path"].read_bytes())
    data[-40] ^= 1
    ledger_check_args["path"].write_bytes(data)
    with pytest.raises(ArtifactError, match=r"plain\.safetensors"):
        of_ledger(ledger_check_args)


READ = RoundtripReport(3, 0, 0, 120, 120, 0, None)
VAL = SimpleNamespace(documents=[{}] * 3, tokens=61)
MANIFEST = {
    "transform": "none",
    "comparable_with_fineweb": False,
    "splits": {"val": {"documents": 3, "tokens": 61, "sha256": "abc"}},
}
FIGURES = {"val_loss": 2.0, "val_tokens": 60, "val_bpb": 2.0 / math.log(2) * 60 / 120}


def of_bytes(figures=FIGURES, index="abc", manifest=MANIFEST, val=VAL, **read) -> dict:
    found = metric_checks.check_bytes(figures, val, index, manifest, dataclasses.replace(READ, **read))
    assert [each.check for each in found] == ["M-a", "M-b", "M-c", "M-d"]
    return {each.check: each for each in found}


def failed(**how) -> set[str]:
    return {check for check, each in of_bytes(**how).items() if each.status == "FAIL"}


def test_honest_bytes_pass():
    assert failed() == set()
    assert of_bytes()["M-a"].measured == "120 bytes"


@pytest.mark.parametrize("bpb", [FIGURES["val_bpb"] / 1.17, FIGURES["val_bpb"] * 1.01, 0.0])
def test_a_score_that_divides_by_other_bytes_is_caught(bpb):
    assert failed(figures=FIGURES | {"val_bpb": bpb}) == {"M-a"}


def test_text_that_does_not_come_back_is_caught_and_a_document_named():
    found = of_bytes(differing=2, first=1)["M-b"]
    assert (found.status, found.measured) == ("FAIL", "2 of 3 differ")
    assert found.note.endswith("(transform none); see document 1")


def test_folded_case_alone_is_unruled_and_anything_beside_it_fails():
    found = of_bytes(differing=2, folded=2, first=0)["M-b"]
    assert found.status == "UNRULED"
    assert "#1604" in found.note
    assert failed(differing=2, folded=1, first=0) == {"M-b"}


def test_tokens_that_claim_more_bytes_than_they_spell_are_caught():
    assert failed(token_bytes=130, miscounted=1, first=2) == {"M-c"}
    assert "see document 2" in of_bytes(token_bytes=130, miscounted=1, first=2)["M-c"].note


def test_the_published_sidecar_may_count_what_the_normaliser_drops_and_no_more_and_no_other_may():
    published = MANIFEST | {"comparable_with_fineweb": True, "transform": "caseops"}
    counts = {"text_bytes": 10_000, "miscounted": 3, "first": 0}

    found = metric_checks.check_byte_counts(dataclasses.replace(READ, token_bytes=10_009, **counts), published)
    assert (found.status, "9 bytes that the normaliser drops" in found.note) == ("PASS", True)
    for off in (9_999, 10_011):
        assert (
            metric_checks.check_byte_counts(dataclasses.replace(READ, token_bytes=off, **counts), published).status
            == "FAIL"
        )
    own = metric_checks.check_byte_counts(dataclasses.replace(READ, token_bytes=10_009, **counts), MANIFEST)
    assert own.status == "FAIL"


@pytest.mark.parametrize(
    "how",
    [
        {"index": "abd"},
        {"figures": FIGURES | {"val_tokens": 59, "val_loss": 2.0 * 60 / 59}},
        {"val": SimpleNamespace(documents=[{}] * 2, tokens=61)},
    ],
)
def test_a_split_that_is_not_the_one_that_was_fetched_whole_is_caught(how):
    assert failed(**how) == {"M-d"}


def test_fineweb_has_bytes_and_documents_of_its_own():
    told = {"documents": 50_000, "tokens": 61, "bytes": 151_080_000, "sha256": "abc"}
    manifest = MANIFEST | {"comparable_with_fineweb": True, "splits": {"val": told}}
    figures = FIGURES | {"val_bpb": 2.0 / math.log(2) * 60 / told["bytes"]}
    whole = SimpleNamespace(documents=[{}] * 50_000, tokens=61)
    assert failed(figures=figures, manifest=manifest, val=whole) == set()
    assert failed(manifest=manifest, val=whole) == {"M-a"}
    manifest["splits"] = {"val": told | {"documents": 10_000}}
    part = SimpleNamespace(documents=[{}] * 10_000, tokens=61)
    assert failed(figures=figures, manifest=manifest, val=part) == {"M-d"}
