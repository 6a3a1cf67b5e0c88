"""A number as somebody wrote it down: its value and how finely it was written."""

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

ABSURD = 1e15  # no figure of a submission is near this; what is beyond it is no figure
FINEST = -30  # decimals; Python prints a float with up to 17 digits


@dataclass(frozen=True, slots=True)
class Figure:
    """unit: the worth of the last place that was written, 1e-5 of "1.08100"."""

    value: float
    unit: float

    def agrees(self, other: "Figure", least: float = 0.0) -> bool:
        """Whether both may be the same number, each rounded or cut after its last place, or ``least`` apart."""
        return abs(self.value - other.value) <= max(self.unit, other.unit, least) * (1 + 1e-6)

    @property
    def places(self) -> int:
        """How many decimals were written."""
        return -round(math.log10(self.unit))


def figure(written) -> Figure | None:
    """From digits, an int or a Decimal; None for what is no number, is negative, or is absurdly large or fine."""
    if isinstance(written, bool) or not isinstance(written, (str, int, Decimal)):
        return None
    try:
        number = Decimal(written)
    except InvalidOperation:
        return None
    if not number.is_finite() or not 0 <= number <= ABSURD or number.as_tuple().exponent < FINEST:
        return None
    return Figure(float(number), 10.0 ** min(0, number.as_tuple().exponent))


def mean(figures: list[Figure]) -> Figure:
    """As fine as the coarsest of them. figures: at least one."""
    return Figure(sum(one.value for one in figures) / len(figures), max(one.unit for one in figures))
