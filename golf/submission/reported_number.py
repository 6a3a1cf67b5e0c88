"""A number as somebody wrote it down: its value and how finely it was written."""

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

_MAX_VALUE = 1e15  # no figure of a submission is near this; what is beyond it is no figure
_MIN_EXPONENT = -30  # decimals; Python prints a float with up to 17 digits


@dataclass(frozen=True, slots=True)
class ReportedNumber:
    """unit: the worth of the last place that was written, 1e-5 of "1.08100"."""

    value: float
    resolution: float

    def matches(self, other: "ReportedNumber", tolerance: float = 0.0) -> bool:
        """Whether both may be the same number, each rounded or cut after its last place, or ``least`` apart."""
        return abs(self.value - other.value) <= max(self.resolution, other.resolution, tolerance) * (1 + 1e-6)

    @property
    def n_decimals(self) -> int:
        """How many decimals were written."""
        return -round(math.log10(self.resolution))


def parse_number(raw) -> ReportedNumber | None:
    """From digits, an int or a Decimal; None for what is no number, is negative, or is absurdly large or fine."""
    if isinstance(raw, bool) or not isinstance(raw, (str, int, Decimal)):
        return None
    try:
        number = Decimal(raw)
    except InvalidOperation:
        return None
    if not number.is_finite() or not 0 <= number <= _MAX_VALUE or number.as_tuple().exponent < _MIN_EXPONENT:
        return None
    return ReportedNumber(float(number), 10.0 ** min(0, number.as_tuple().exponent))


def mean(numbers: list[ReportedNumber]) -> ReportedNumber:
    """As fine as the coarsest of them. figures: at least one."""
    return ReportedNumber(
        sum(number.value for number in numbers) / len(numbers), max(one.resolution for one in numbers)
    )
