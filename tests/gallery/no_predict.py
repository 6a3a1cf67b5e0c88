"""A method that can't say what it expects before it is shown the target."""

from gallery.case import Cheat
from gallery.honest import Honest

CASE = Cheat(0, "no distribution without the target", "#1017", ("C2-c",), settings={"evaluate.headline": "plain"})


class Method(Honest):
    predict = None
