"""A memo of the text in a variable of a closure."""

from gallery.case import Violation
from gallery.memo_predictor import MemoPredictor

CASE = Violation(0, "a memo of the text in a closure", "#1017", ("C1-a", "C2-c"))


def _make_memo():
    memo: dict[int, int] = {}
    return lambda self: memo


class CasePredictor(MemoPredictor):
    get_memo = _make_memo()
