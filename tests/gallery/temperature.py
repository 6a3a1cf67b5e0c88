"""A temperature picked on val and used where adaptation is on, so that its gain passes for that of learning (#576)."""

from gallery.bias import Biased
from gallery.case import Cheat
from gallery.honest import normalised

CASE = Cheat(2, "temperature picked on val", "#576", ("C3-e",))


class Method(Biased):
    def expect(self, prefix, chunk):
        expected = super().expect(prefix, chunk)
        return normalised(expected / 0.98) if self.learns else expected
