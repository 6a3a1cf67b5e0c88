import dataclasses
import math

import numpy as np
import pytest

from golf.evaluation import bpb
from golf.evaluation.ledger import LedgerData


def make_data(documents=6, length=30, seed=0) -> LedgerData:
    rng = np.random.default_rng(seed)
    n = documents * length
    return LedgerData(
        rng.random(n).astype(np.float32) * 4,
        rng.integers(0, 7, n).astype(np.int32),
        np.zeros(n, np.int32),
        np.arange(documents, dtype=np.int64) * length,
        np.zeros((1, 32), np.uint8),
    )


def test_bpb_is_all_bits_over_all_bytes():
    data = make_data()
    score = bpb.compute_score(data)

    assert score.bpb == pytest.approx(
        math.fsum(float(x) for x in data.nll) / math.log(2) / int(data.bytes.sum()), rel=1e-12
    )
    assert score.loss == pytest.approx(math.fsum(float(x) for x in data.nll) / len(data.nll), rel=1e-12)
    assert score.implied_bytes == pytest.approx(score.n_bytes, rel=1e-12)


def test_bpb_is_not_a_mean_of_document_means():
    data = make_data(2)
    nll = data.nll.copy()
    nll[:30] *= 3
    n_bytes = data.bytes.copy()
    n_bytes[:30] = 1
    score = bpb.compute_score(dataclasses.replace(data, nll=nll, bytes=n_bytes))

    means = [nll[p].sum() / math.log(2) / n_bytes[p].sum() for p in (slice(0, 30), slice(30, 60))]
    assert score.bpb != pytest.approx(np.mean(means), rel=0.05)


def test_sums_are_exact_where_float32_would_lose_them():
    n = 3_000_000
    chunk, states = np.zeros(n, np.int32), np.zeros((1, 32), np.uint8)
    big = LedgerData(np.full(n, 1.1, np.float32), np.full(n, 3, np.int32), chunk, np.array([0]), states)

    assert bpb.compute_score(big).loss == pytest.approx(float(np.float32(1.1)), rel=1e-12)


def test_the_standard_error_is_what_resampling_documents_shows():
    data = make_data(200, 20)
    scale = np.repeat(np.random.default_rng(1).gamma(4, 0.25, 200), 20)
    data = dataclasses.replace(data, nll=(data.nll * scale).astype(np.float32))
    bits = np.add.reduceat(data.nll.astype(np.float64), data.document_starts) / math.log(2)
    n_bytes = np.add.reduceat(data.bytes, data.document_starts)
    rng = np.random.default_rng(2)
    drawn = [rng.integers(0, 200, 200) for _ in range(2000)]
    bootstrap = np.std([bits[d].sum() / n_bytes[d].sum() for d in drawn])

    assert bpb.compute_score(data).standard_error == pytest.approx(bootstrap, rel=0.1)


def test_one_document_has_no_standard_error():
    assert bpb.compute_score(make_data(1)).standard_error is None


def test_the_curve_ends_at_the_score():
    data = make_data()
    curve = bpb.compute_running_bpb(data)

    assert curve[-1]["tokens"] == len(data.nll)
    assert curve[-1]["bpb"] == pytest.approx(bpb.compute_score(data).bpb, abs=1e-6)
    assert len(curve) <= 200


def test_loss_by_position_starts_again_with_each_document():
    position = np.tile(np.arange(30), 6)
    data = make_data()
    data = dataclasses.replace(data, nll=position.astype(np.float32))
    table = {row["position"]: row for row in bpb.compute_loss_by_position(data)}

    assert list(table) == [0, 1, 2, 4, 8, 16]
    assert table[0]["loss"] == 0
    assert table[4]["loss"] == pytest.approx(5.5)
    assert sum(row["targets"] for row in table.values()) == 180
