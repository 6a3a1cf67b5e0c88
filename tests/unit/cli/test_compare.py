"""golf/cli/compare.py: the report of golf compare"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from golf.artifacts import io
from golf.cli.compare import compare_ledgers
from golf.errors import ArtifactError, InputError
from golf.evaluation import bpb, ledger
from golf.evaluation.ledger import Ledger

BOS = 1
DOCUMENTS, LENGTH = 80, 12


def write(path: Path, seed: int, better: float = 0.0, noise: float = 0.1, **meta) -> Path:
    """A ledger of one text: each target's nll is that of the text, less ``better``, and this run's own noise."""
    text_rng, rng = np.random.default_rng(0), np.random.default_rng(seed)
    base = text_rng.gamma(4, 0.6, DOCUMENTS * LENGTH)
    n_bytes = text_rng.integers(1, 8, len(base))
    tokens = np.full(len(base) + 1, 2, dtype=np.uint16)
    tokens[1::LENGTH] = BOS
    written = Ledger("sliding", bos=BOS)
    written.append(tokens, base - better + rng.normal(0, noise, len(base)), n_bytes, is_last=True)
    written.save(path, **{"stream": "val"} | meta)
    return path


def test_the_report_gives_both_scores_their_difference_its_interval_and_the_shares(tmp_path):
    before, after = write(tmp_path / "a.safetensors", 1), write(tmp_path / "b.safetensors", 2, better=0.3)
    text = compare_ledgers([before], [after])
    scores = [bpb.compute_score(ledger.read(path)[0]).bpb for path in (before, after)]
    assert f"before  {scores[0]:.6f} bpb" in text
    assert f"after   {scores[1]:.6f} bpb" in text
    assert f"over documents: {scores[1] - scores[0]:+.6f} bpb, 95% within -" in text
    assert "80 documents, 960 targets" in text
    assert "of the documents, with" in text
    assert "difference over seeds:     not measured" in text
    assert text.splitlines()[-1] == "Larger than noise over documents"


def test_json_has_the_figures_of_the_report(tmp_path):
    before, after = write(tmp_path / "a.safetensors", 1), write(tmp_path / "b.safetensors", 2, better=0.3)
    report = json.loads(compare_ledgers([before], [after], as_json=True))
    scores = [bpb.compute_score(ledger.read(path)[0]).bpb for path in (before, after)]
    assert [report[side][0]["bpb"] for side in ("before", "after")] == scores
    assert report["over_documents"]["bpb_difference"] == pytest.approx(scores[1] - scores[0])
    assert (report["documents"], report["targets"], report["identical"]) == (80, 960, False)
    assert report["over_seeds_paired"] is report["over_seeds_welch"] is None
    same = json.loads(compare_ledgers([before], [before], as_json=True))
    assert (same["identical"], same["over_documents"]["bpb_difference"]) == (True, 0)


def test_the_five_documents_that_changed_most_are_named_with_where_they_start(tmp_path):
    before, path = write(tmp_path / "a.safetensors", 1), tmp_path / "b.safetensors"
    rows = ledger.read(before)[0]
    nll = rows.nll.copy()
    for position, (document, change) in enumerate([(7, -9.0), (3, 6.0), (50, -5.0), (20, 4.0), (79, -3.0), (11, 1.0)]):
        nll[rows.document_starts[document] + position] += change
    written = Ledger("ttt", bos=BOS)
    tokens = np.full(len(nll) + 1, 2, dtype=np.uint16)
    tokens[1::LENGTH] = BOS
    written.append(tokens, nll, rows.bytes, is_last=True)
    written.save(path, stream="val")
    lines = compare_ledgers([before], [path]).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("changed most"))
    named = [line.split()[:2] for line in lines[start + 1 : start + 6]]
    assert named == [["7", "84"], ["3", "36"], ["50", "600"], ["20", "240"], ["79", "948"]]
    assert lines[start + 1].split()[3] == f"{-9 / np.log(2):+.2f}"
    assert lines[start + 6] == ""
    assert "better: 3.8% of the documents" in "\n".join(lines)


def test_two_runs_that_differ_by_chance_are_within_noise(tmp_path):
    text = compare_ledgers([write(tmp_path / "a.safetensors", 1)], [write(tmp_path / "b.safetensors", 2)])
    assert text.splitlines()[-1] == "Within noise over documents"


def seeds(folder: Path, name: str, better: float, shift: float, count: int = 3) -> list[Path]:
    """Ledgers of several seeds, each seed with its own luck of ``shift``."""
    luck = np.random.default_rng(5).normal(0, 1, 2 * count)
    own = luck[:count] if name == "a" else luck[count:]
    return [
        write(folder / f"{name}{seed}.safetensors", 10 * seed + ord(name), better=better + shift * own[seed])
        for seed in range(count)
    ]


def test_several_seeds_show_their_spread_and_both_intervals(tmp_path):
    before, after = (seeds(tmp_path, name, better, 0.01) for name, better in (("a", 0.0), ("b", 0.5)))
    text = compare_ledgers(before, after)
    scores = [bpb.compute_score(ledger.read(path)[0]).bpb for path in before]
    assert f"{np.mean(scores):.6f} bpb  mean of 3 seeds, standard deviation {np.std(scores, ddof=1):.6f}" in text
    assert "over seeds, paired:" in text
    assert "over seeds, Welch:" in text
    assert text.splitlines()[-1] == "Larger than noise over documents and between seeds"


def test_a_difference_smaller_than_the_spread_between_seeds_is_within_noise(tmp_path):
    before, after = (seeds(tmp_path, name, better, 0.5) for name, better in (("a", 0.0), ("b", 0.1)))
    assert (
        compare_ledgers(before, after).splitlines()[-1]
        == "Within noise between seeds, larger than noise over documents"
    )


def test_one_document_has_no_interval(tmp_path):
    for name, nll in (("a", 1.0), ("b", 2.0)):
        written = Ledger("plain", bos=BOS)
        written.append(np.array([BOS, 2], dtype=np.uint16), [nll], [3], is_last=True)
        written.save(tmp_path / name, stream="val")
    text = compare_ledgers([tmp_path / "a"], [tmp_path / "b"])
    assert "no interval: fewer than two documents" in text
    assert text.splitlines()[-1] == "Unknown: no interval"


def test_another_stream_is_refused_and_both_are_named(tmp_path):
    before, after = write(tmp_path / "a.safetensors", 1), write(tmp_path / "b.safetensors", 2, stream="dev")
    with pytest.raises(InputError, match=r"a\.safetensors, .*b\.safetensors: not the same text: streams val and dev"):
        compare_ledgers([before], [after])


def test_a_ledger_of_another_text_is_refused_with_how_it_differs(tmp_path):
    before, after = write(tmp_path / "a.safetensors", 1), tmp_path / "b.safetensors"
    written = Ledger("plain", bos=BOS)
    written.append(np.array([BOS, 2], dtype=np.uint16), [1.0], [3], is_last=True)
    written.save(after, stream="val")
    with pytest.raises(InputError, match="not the same text: 960 and 1 targets"):
        compare_ledgers([before], [after])


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 2), (3, 1)])
def test_sides_of_unequal_number_are_refused(before, after):
    with pytest.raises(InputError, match=f"got {before} ledgers before and {after} after"):
        compare_ledgers([Path("a")] * before, [Path("b")] * after)


def test_a_ledger_with_an_edited_row_is_refused(tmp_path):
    before, after = write(tmp_path / "a.safetensors", 1), write(tmp_path / "b.safetensors", 2)
    tensors, meta = io.load_tensors(after)
    tensors["nll"] = tensors["nll"].index_fill(0, torch.tensor([5]), 0.0)
    io.save_tensors(after, tensors, kind="ledger", meta=meta)
    with pytest.raises(ArtifactError, match=r"b\.safetensors: chunk 0 does not match its chain hash"):
        compare_ledgers([before], [after])


def test_the_report_fits_80_columns_but_for_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, after = (seeds(Path(), name, better, 0.01) for name, better in (("a", 0.0), ("b", 0.5)))
    for text in (compare_ledgers(before, after), compare_ledgers(before[:1], after[:1])):
        assert max(map(len, text.splitlines())) <= 80


def test_a_ledger_given_twice_or_copied_is_no_second_seed_and_both_are_named(tmp_path):
    one, other = write(tmp_path / "a.safetensors", 1), write(tmp_path / "b.safetensors", 2)
    copy = write(tmp_path / "copy.safetensors", 1)
    for double in (one, copy):
        with pytest.raises(InputError, match=rf"{one}, {double}: the same scores, so not two seeds"):
            compare_ledgers([one, double], [other, write(tmp_path / "c.safetensors", 3)])
    with pytest.raises(InputError, match="the same scores"):
        compare_ledgers([other, write(tmp_path / "d.safetensors", 4)], [one, copy])


def test_ledgers_of_different_modes_or_predictors_may_be_compared_but_are_not_seeds(tmp_path):
    paths = [write(tmp_path / f"{seed}", seed, predictor="golf.inference.predictor:GolfPredictor") for seed in range(3)]
    theirs = write(tmp_path / "theirs", 5, predictor="mine:Own")
    with pytest.raises(
        InputError, match=r"predictors golf\.inference\.predictor:GolfPredictor and mine:Own; ledgers of one side"
    ):
        compare_ledgers([paths[0], theirs], paths[1:])
    written = Ledger("ttt", bos=BOS)
    rows = ledger.read(paths[0])[0]
    tokens = np.full(len(rows.nll) + 1, 2, dtype=np.uint16)
    tokens[1::LENGTH] = BOS
    written.append(tokens, rows.nll - 0.01, rows.bytes, is_last=True)
    written.save(tmp_path / "ttt", stream="val", predictor="golf.inference.predictor:GolfPredictor")
    with pytest.raises(InputError, match="modes sliding and ttt"):
        compare_ledgers(paths[:2], [paths[2], tmp_path / "ttt"])
    assert "over documents" in compare_ledgers(paths[:1], [tmp_path / "ttt"])


def test_identical_ledgers_are_called_so_and_nothing_in_them_changed_most(tmp_path):
    one, copy = write(tmp_path / "a.safetensors", 1), write(tmp_path / "b.safetensors", 1)
    text = compare_ledgers([one], [copy])
    assert text.splitlines()[-1] == "Identical: every target has the same score on both sides"
    assert "changed most" not in text
    assert "noise" not in text


def test_documents_that_did_not_change_are_not_among_those_that_changed_most(tmp_path):
    one = write(tmp_path / "a.safetensors", 1)
    rows = ledger.read(one)[0]
    nll = rows.nll.copy()
    nll[rows.document_starts[7]] -= 1
    written = Ledger("sliding", bos=BOS)
    tokens = np.full(len(nll) + 1, 2, dtype=np.uint16)
    tokens[1::LENGTH] = BOS
    written.append(tokens, nll, rows.bytes, is_last=True)
    written.save(tmp_path / "b.safetensors", stream="val")
    lines = compare_ledgers([one], [tmp_path / "b.safetensors"]).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("changed most"))
    assert lines[start + 1].split()[0] == "7"
    assert lines[start + 2] == ""
