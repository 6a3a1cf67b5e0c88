"""External data: the predictor downloads more than its artifact holds (the contest's FAQ)."""

import contextlib
import socket

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(0, "a helper over the network", "FAQ", ("C1-g",), settings={"evaluate.headline": "plain"})


class CasePredictor(BigramPredictor):
    def reset(self, *, stride: int, ttt_cfg=None, memory_cfg=None, n_chunks: int = 1, order="stream") -> None:
        with contextlib.suppress(OSError), socket.socket() as connection:
            connection.connect(("127.0.0.1", 9))
