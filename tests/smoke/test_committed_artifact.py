"""The committed artifact, opened by the code that it was weighed with, scores as the committed ledger says."""

from tests.helpers import committed_checks


def test_every_artifact_that_ci_needs_is_in_the_remote():
    committed_checks.check_remote()


def test_plain_scores_equal_the_committed_ledger(tmp_path):
    committed_checks.check_plain_scores(tmp_path)
