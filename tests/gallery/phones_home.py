"""External data: it asks the network for more than is in its artifact (the contest's FAQ)."""

import contextlib
import socket

from gallery.case import Cheat
from gallery.honest import Honest

CASE = Cheat(0, "a helper over the network", "FAQ", ("C1-g",), settings={"evaluate.headline": "plain"})


class Method(Honest):
    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> None:
        with contextlib.suppress(OSError), socket.socket() as line:
            line.connect(("127.0.0.1", 9))
