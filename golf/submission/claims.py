"""The claims of a submission.json. Its format is a convention: any key may be missing, and several have two names."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = ["ReportedNumber", "SubmissionClaims", "mean", "parse_claims", "parse_number"]

_MAX_VALUE = 1e15  # a larger number is an error: no metric of a submission comes near it
_MIN_EXPONENT = -30  # Python prints a float with up to 17 digits; anything finer is an error
_SEED_TABLE_KEYS = ("seed_results", "per_seed", "seeds", "runs", "results_by_seed", "per_seed_results")
_NESTED_KEYS = (
    "results",
    "metrics",
    "summary",
    "result",
    "scores",
    "aggregate",
)  # objects that some files put the claims in
_SEED_LIST_KEYS = (
    "val_bpbs",
    "val_bpb_per_seed",
    "per_seed_val_bpb",
    "seed_val_bpb",
    "seed_val_bpbs",
    "val_bpb_by_seed",
)
_SEED_PREFIX = re.compile(r"(?i)seed[_\- ]?(?=\d)")
_BPB_KEYS = ("val_bpb", "mean_val_bpb", "val_bpb_mean", "final_val_bpb", "bpb", "mean_bpb")
_LOSS_KEYS = ("val_loss", "mean_val_loss", "val_loss_mean", "final_val_loss")
_STD_KEYS = ("val_bpb_std", "std_val_bpb", "bpb_std", "val_bpb_sd")
_TOTAL_KEYS = (
    "bytes_total",
    "artifact_bytes",
    "artifact_bytes_max",
    "total_bytes",
    "max_artifact_bytes",
    "artifact_size",
)
_CODE_KEYS = ("bytes_code", "code_bytes")
_STEP_KEYS = ("steps", "step_stop", "stop_step", "num_steps", "n_steps", "training_steps", "train_steps", "total_steps")
_PARAMS_KEYS = ("model_params", "num_params", "n_params", "total_params", "params", "parameters", "param_count")
_TRAIN_TIME = re.compile(
    r"wallclock(?:_(?:seconds|s))?|(?:total_|mean_)?(?:train|training)_?(?:time|wallclock|seconds|duration)(?:_(?:seconds|sec|s|ms|min))?"
)
_EVAL_TIME = re.compile(
    r"(?:total_|max_)?eval(?:uation)?_?(?:time|wallclock|seconds|duration)(?:_(?:seconds|sec|s|ms|min))?"
)
_QUANTITY = re.compile(
    r"\s*~?\s*(\d[\d,_]{0,30}(?:\.\d{1,20})?)\s*(ms|seconds|secs|sec|s|minutes|min|m|M|k|K|B|MB|bytes)?\s*"
)
_UNITS = {"ms": 1e-3, "min": 60.0, "minutes": 60.0, "m": 60.0}
_MIN_BYTES = 1_000  # a smaller size is in millions of bytes
_MIN_MILLISECONDS = 20_000  # a larger number of "seconds" for a run of ten minutes is in milliseconds


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

    listed_seeds: every seed that the file names. is_record: whether its track competes for the record. bpb_key: the key
    that gives bpb, "" for none. train_s, eval_s: in seconds, whatever the file's unit. bytes_resolution: by
    which total_bytes may be rounded, if it was given in millions.
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
    bpb_key: str = ""
    steps: ReportedNumber | None = None
    params: ReportedNumber | None = None
    train_s: ReportedNumber | None = None
    eval_s: ReportedNumber | None = None
    bytes_resolution: int = 1


def parse_claims(data: dict[str, Any]) -> SubmissionClaims:
    """Read the claims from the object of a submission.json or of one seed in it; what is not understood is None."""
    data = _flatten(data)
    seed_claims = _parse_seed_claims(data)
    seeds_value = data.get("seeds")
    seed_items = seeds_value if isinstance(seeds_value, list) else [data.get("seed")]
    named_seeds = {int(number.value) for item in seed_items if (number := parse_number(item))}
    total = _get_first_number(data, *_TOTAL_KEYS)
    is_in_millions = total is not None and total.value < _MIN_BYTES
    return SubmissionClaims(
        bpb=_get_first_number(data, *_BPB_KEYS),
        loss=_get_first_number(data, *_LOSS_KEYS),
        bpb_std=_get_first_number(data, *_STD_KEYS),
        total_bytes=_to_bytes(total),
        code_bytes=int(code.value) if (code := _get_first_number(data, *_CODE_KEYS)) else None,
        per_seed=seed_claims,
        listed_seeds=tuple(sorted({*seed_claims, *named_seeds})),
        hardware=data["hardware"] if isinstance(data.get("hardware"), str) else "",
        is_record="non" not in str(data.get("track", "")).lower(),
        bpb_key=next((key for key in _BPB_KEYS if parse_number(data.get(key))), ""),
        steps=_get_first_quantity(data, *_STEP_KEYS),
        params=_get_first_quantity(data, *_PARAMS_KEYS),
        train_s=_find_seconds(data, _TRAIN_TIME),
        eval_s=_find_seconds(data, _EVAL_TIME),
        bytes_resolution=round(total.resolution * 1e6) if total and is_in_millions else 1,
    )


def _flatten(data: dict[str, Any]) -> dict[str, Any]:
    """The object with the keys of nested ``results``, ``metrics``, ... that it does not have itself."""
    nested = [value for key in _NESTED_KEYS if isinstance(value := data.get(key), dict)]
    merged: dict[str, Any] = {}
    for part in (*reversed(nested), data):
        merged |= part
    for key in ("val_bpb", "val_loss"):  # {"mean": ..., "std": ...}
        if isinstance(spread := merged.get(key), dict):
            merged[key] = spread.get("mean")
            merged.setdefault(f"{key}_std", spread.get("std"))
    return merged


def _parse_seed_claims(data: dict[str, Any]) -> dict[int, SubmissionClaims]:
    """Claims by seed, from ``{seed: {...}}``, ``{seed: bpb}`` or ``[{"seed": ..., ...}]``."""
    tables = (data[key] for key in (*_SEED_TABLE_KEYS, *_SEED_LIST_KEYS) if isinstance(data.get(key), dict))
    table = next((table for table in tables if any(_parse_seed(key) is not None for key in table)), None)
    if table is None:
        lists = (data[key] for key in _SEED_TABLE_KEYS if isinstance(data.get(key), list))
        rows: list[Any] = next((items for items in lists if any(isinstance(item, dict) for item in items)), [])
        table = {row.get("seed"): row for row in rows if isinstance(row, dict) and parse_number(row.get("seed"))}
        seeds, values = data.get("seeds"), next((data[key] for key in _SEED_LIST_KEYS if key in data), None)
        if isinstance(seeds, list) and isinstance(values, list) and len(seeds) == len(values):
            table = table or {str(seed): value for seed, value in zip(seeds, values, strict=True)}
    return {
        seed: parse_claims(row) if isinstance(row, dict) else SubmissionClaims(bpb=parse_number(row))
        for key, row in table.items()
        if (seed := _parse_seed(key)) is not None
    }


def _parse_seed(key: object) -> int | None:
    number = parse_number(_SEED_PREFIX.sub("", str(key), count=1))
    return None if number is None or number.value != int(number.value) else int(number.value)


def _get_first_number(data: dict[str, Any], *keys: str) -> ReportedNumber | None:
    """The first of these keys that holds a number."""
    return next((number for key in keys if (number := parse_number(data.get(key)))), None)


def _get_first_quantity(data: dict[str, Any], *keys: str) -> ReportedNumber | None:
    """The first of these keys that holds a number, or text such as "35.9M"."""
    return next((number for key in keys if (number := _parse_quantity(data.get(key)))), None)


def _parse_quantity(raw: object) -> ReportedNumber | None:
    if isinstance(raw, str) and (match := _QUANTITY.fullmatch(raw[:60])):
        number = parse_number(match[1].replace(",", "").replace("_", ""))
        scale = {"M": 1e6, "k": 1e3, "K": 1e3, "B": 1e9}.get(match[2] or "", 1.0)
        return number and ReportedNumber(number.value * scale, number.resolution * scale)
    return parse_number(raw)


def _find_seconds(data: dict[str, Any], key_pattern: re.Pattern[str]) -> ReportedNumber | None:
    """The duration under a key of this form, in seconds by the unit of the value, else of the key, else by its size."""
    for key, raw in data.items():
        if not key_pattern.fullmatch(key.lower()):
            continue
        match = _QUANTITY.fullmatch(raw[:60]) if isinstance(raw, str) else None
        number = parse_number(match[1].replace(",", "")) if match else parse_number(raw)
        if number is None or not number.value:
            continue
        unit = (match[2] if match else None) or key.lower().rpartition("_")[2]
        scale = _UNITS.get(unit, 1e-3 if number.value >= _MIN_MILLISECONDS else 1.0)
        return ReportedNumber(number.value * scale, number.resolution * scale)
    return None


def _to_bytes(number: ReportedNumber | None) -> int | None:
    """A size in bytes, which may be given in millions."""
    if number is None:
        return None
    return int(number.value) if number.value >= _MIN_BYTES else round(number.value * 1e6)
