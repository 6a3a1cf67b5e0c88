"""On a GPU what Inductor compiles gives what runs uncompiled"""

import dataclasses

import numpy as np
import pytest

from golf.distributed import context
from golf.distributed.device import find_missing_compiler
from tests.helpers.compiled_work import (
    assert_close,
    compiled,
    measure_hessians,
    record_graphs,
    score,
    train_on_chunks,
    train_steps,
)


@pytest.mark.gpu
def test_scores_learning_hessians_and_training_steps_are_the_eager_ones(tiny_train_config, gpu):
    if missing := find_missing_compiler(gpu):
        pytest.skip(f"needs {missing}")
    eager = context.single_process(str(gpu))
    cfg = dataclasses.replace(tiny_train_config, device="cuda", compile_warmup_steps=1)
    with record_graphs() as graphs:
        for actual, expected in zip(score(compiled(eager)), score(eager), strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-4)
        assert_close(train_on_chunks(compiled(eager)), train_on_chunks(eager), atol=1e-4)
        assert_close(measure_hessians(compiled(eager)), measure_hessians(eager), atol=1e-3)
        losses = [train_steps(ctx, cfg)[1] for ctx in (compiled(eager), eager)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)
        assert len(graphs) == 6 + 6
