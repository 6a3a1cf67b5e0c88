"""golf/inference/predictor.py on two ranks: every scoring mode gives what one rank gives"""

from pathlib import Path

import numpy as np
import pytest

from golf.distributed import context
from golf.evaluation import ledger
from tests.helpers.programs import score_stream
from tests.helpers.programs.score_stream import MODES, score
from tests.helpers.stage_processes import run_ranks


@pytest.fixture(scope="module")
def ledger_prefix(tmp_path_factory) -> str:
    """Where both of two ranks left their ledgers: <prefix>.<mode>.<rank>."""
    rendezvous = tmp_path_factory.mktemp("ranks") / "rendezvous"
    run_ranks(Path(score_stream.__file__), rendezvous, 2)
    return str(rendezvous)


@pytest.mark.parametrize("mode", MODES)
def test_two_ranks_score_what_one_scores_to_a_millionth_and_seal_one_ledger(ledger_prefix, mode):
    single = score(mode, context.single_process()).to_data().nll.astype(np.float64)
    paths = [f"{ledger_prefix}.{mode}.{rank}" for rank in range(2)]
    (first, _), (second, _) = map(ledger.read, paths)

    assert np.abs(first.nll - single).max() <= 1e-6 * single.max()
    assert first.nll.mean(dtype=np.float64) == pytest.approx(single.mean(), abs=1e-6)
    np.testing.assert_array_equal(first.nll, second.nll)
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()
