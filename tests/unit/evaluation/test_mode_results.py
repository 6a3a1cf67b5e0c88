import math

import numpy as np
import pytest

from golf.artifacts import io
from golf.evaluation import bpb, mode_results
from golf.evaluation.ledger import Ledger
from golf.evaluation.pass_settings import PassSettings
from golf.evaluation.scoring_loop import ModeResult

NLL_BY_MODE = {"ttt": 1.0, "plain": 0.5, "sliding": 0.25}


def make_results(nll_by_mode=NLL_BY_MODE) -> dict[str, ModeResult]:
    results = {}
    settings = PassSettings(stride=8, ttt_cfg=None, memory_cfg=None, n_chunks=1, order="stream")
    for mode, nll in nll_by_mode.items():
        ledger = Ledger(mode, bos=1)
        ledger.append(np.arange(2, 53, dtype=np.uint16), np.full(50, nll), np.full(50, 3), is_last=True)
        results[mode] = ModeResult(settings, ledger, bpb.compute_score(ledger.to_data()), 2.5, 3.5)
    return results


def test_the_headline_is_the_mode_that_was_named_and_never_the_best():
    metrics = mode_results.collect_metrics(make_results(), "ttt")

    assert metrics["val_bpb"] == metrics["val_bpb_ttt"] > metrics["val_bpb_sliding"]
    assert (metrics["val_tokens"], metrics["val_bytes"], metrics["seconds_plain"]) == (50, 150, 2.5)


def test_scores_that_are_all_zero_have_metrics_and_divide_by_nothing():
    metrics = mode_results.collect_metrics(make_results(dict.fromkeys(NLL_BY_MODE, 0.0)), "plain")

    assert (metrics["val_bpb"], metrics["implied_bytes"]) == (0, 0)


def test_clean_bpb_is_the_headlines_over_the_clean_targets_and_null_where_there_are_none():
    is_clean = np.arange(50) >= 20
    results = make_results()
    assert mode_results.collect_metrics(results, "ttt")["val_bpb_clean"] is None
    assert mode_results.collect_metrics(results, "ttt", is_clean & False)["val_bpb_clean"] is None
    metrics = mode_results.collect_metrics(results, "ttt", is_clean)
    assert metrics["val_bpb_clean"] == pytest.approx(metrics["val_bpb"])
    data = results["ttt"].ledger.to_data()
    data.nll[20:] = 2.0
    assert bpb.compute_bpb(data, is_clean) == pytest.approx(2 / math.log(2) / 3)


def test_curves_have_one_column_for_each_mode():
    results = make_results()

    assert list(mode_results.tabulate_running_bpb(results)[0]) == ["tokens", "plain", "sliding", "ttt"]
    assert list(mode_results.tabulate_loss_by_position(results)[0]) == ["position", "plain", "sliding", "ttt"]


def test_a_ledger_is_written_for_each_mode_with_its_disclaimer(tmp_path):
    disclaimers = {"ttt": "invalid: why", "plain": "", "sliding": ""}
    mode_results.save_ledgers(make_results(), tmp_path, disclaimers.get, stream="val")

    metas = {path.stem: io.read_header(path)["meta"] for path in tmp_path.iterdir()}
    assert {mode: meta.get("verdict") for mode, meta in metas.items()} == {
        "ttt": "invalid: why",
        "plain": None,
        "sliding": None,
    }
    assert {meta["stream"] for meta in metas.values()} == {"val"}
