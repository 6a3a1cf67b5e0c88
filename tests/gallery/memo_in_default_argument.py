"""golf's verdict once called this valid: what is kept in a default argument was in no hash of the predictor's state."""

from gallery.case import Violation
from gallery.memo_predictor import MemoPredictor

CASE = Violation(0, "a memo of the text in a default argument", "#1017", ("C1-a", "C2-c"))


class CasePredictor(MemoPredictor):
    def get_memo(self, _memo={}):  # noqa: B006
        return _memo
