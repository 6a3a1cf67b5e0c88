"""The claims of a submission.json. Its format is a convention: any key may be missing, and several have two names."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = ["ReportedNumber", "SubmissionClaims", "mean", "parse_claims", "parse_number"]

_MAX_VALUE = 1e15  # a larger number is an error: no metric of a submission comes near it
_MIN_EXPONENT = -30  # Python prints a float with up to 17 digits; anything finer is an error
_SEED_TABLE_KEYS = ("seed_results", "per_seed", "seeds", "runs")


@dataclass(frozen=True, slots=True)
class ReportedNumber:
    """A number as someone wrote it. resolution: the value of its last written digit, e.g. 1e-5 for "1.08100"."""

    value: float
    resolution: float

    def matches(self, other: "ReportedNumber", tolerance: float = 0.0) -> bool:
        """Return whether both can be the same number.

        Each may be rounded or truncated at its last digit, or they lie within ``tolerance``.
        """
        return abs(self.value - other.value) <= max(self.resolution, other.resolution, tolerance) * (1 + 1e-6)

    @property
    def n_decimals(self) -> int:
        """The number of written decimals."""
        return -round(math.log10(self.resolution))


def parse_number(raw: object) -> ReportedNumber | None:
    """Parse digits, an int or a Decimal; None for anything else, and for negative, absurdly large or fine numbers."""
    if isinstance(raw, bool) or not isinstance(raw, (str, int, Decimal)):
        return None
    try:
        number = Decimal(raw)
    except InvalidOperation:
        return None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or not 0 <= number <= _MAX_VALUE or exponent < _MIN_EXPONENT:
        return None  # the exponent of infinity and NaN is a letter
    return ReportedNumber(float(number), 10.0 ** min(0, exponent))


def mean(numbers: Sequence[ReportedNumber]) -> ReportedNumber:
    """Return the mean of one number or more, with the resolution of the coarsest."""
    total = sum(number.value for number in numbers)
    return ReportedNumber(total / len(numbers), max(number.resolution for number in numbers))


@dataclass(frozen=True)
class SubmissionClaims:
    """bpb, loss (nats per token), bpb_std (over seeds): the headline. per_seed: the claims for each seed.

    listed_seeds: every seed that the file names. is_record: whether its track competes for the record.
    """

    bpb: ReportedNumber | None = None
    loss: ReportedNumber | None = None
    bpb_std: ReportedNumber | None = None
    total_bytes: int | None = None
    code_bytes: int | None = None
    per_seed: dict[int, "SubmissionClaims"] = field(default_factory=dict)
    listed_seeds: tuple[int, ...] = ()
    hardware: str = ""
    is_record: bool = True


def parse_claims(data: dict[str, Any]) -> SubmissionClaims:
    """Read the claims from the object of a submission.json or of one seed in it; what is not understood is None."""
    seed_claims = _parse_seed_claims(data)
    seeds_value = data.get("seeds")
    seed_items = seeds_value if isinstance(seeds_value, list) else [data.get("seed")]
    named_seeds = {int(number.value) for item in seed_items if (number := parse_number(item))}
    return SubmissionClaims(
        bpb=_first_number(data, "val_bpb", "mean_val_bpb", "val_bpb_mean"),
        loss=_first_number(data, "val_loss", "mean_val_loss", "val_loss_mean"),
        bpb_std=_first_number(data, "val_bpb_std", "std_val_bpb"),
        total_bytes=_to_int(_first_number(data, "bytes_total", "artifact_bytes", "artifact_bytes_max", "total_bytes")),
        code_bytes=_to_int(_first_number(data, "bytes_code", "code_bytes")),
        per_seed=seed_claims,
        listed_seeds=tuple(sorted({*seed_claims, *named_seeds})),
        hardware=data["hardware"] if isinstance(data.get("hardware"), str) else "",
        is_record="non" not in str(data.get("track", "")).lower(),
    )


def _parse_seed_claims(data: dict[str, Any]) -> dict[int, SubmissionClaims]:
    """Claims by seed, from ``{seed: {...}}``, ``{seed: bpb}`` or ``[{"seed": ..., ...}]``."""
    table = next((data[key] for key in _SEED_TABLE_KEYS if isinstance(data.get(key), dict)), None)
    if table is None:
        lists = (data[key] for key in _SEED_TABLE_KEYS if isinstance(data.get(key), list))
        rows: list[Any] = next((items for items in lists if any(isinstance(item, dict) for item in items)), [])
        table = {row.get("seed"): row for row in rows if isinstance(row, dict) and parse_number(row.get("seed"))}
    return {
        int(seed.value): parse_claims(row) if isinstance(row, dict) else SubmissionClaims(bpb=parse_number(row))
        for key, row in table.items()
        if (seed := parse_number(str(key).removeprefix("seed_"))) is not None
    }


def _first_number(data: dict[str, Any], *keys: str) -> ReportedNumber | None:
    """The first of these keys that holds a number."""
    return next((number for key in keys if (number := parse_number(data.get(key)))), None)


def _to_int(number: ReportedNumber | None) -> int | None:
    return None if number is None else int(number.value)
