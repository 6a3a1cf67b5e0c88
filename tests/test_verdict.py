import pytest

from golf import verdict


@pytest.mark.parametrize(
    ("artifact", "plan", "starts"),
    [
        (["train"], ["train", "dev"], "NOT-RUN"),
        (["train", "unknown"], ["train"], "NOT-RUN, and the artifact is of unknown origin"),
        (["train", "val"], ["train"], "invalid: val is upstream of the artifact"),
        (["train"], ["train", "val"], "invalid: the plan for test-time training was made on val"),
    ],
)
def test_val_upstream_makes_a_run_invalid_and_nothing_is_called_legal_unproven(artifact, plan, starts):
    assert verdict.of(artifact, plan).startswith(starts)
