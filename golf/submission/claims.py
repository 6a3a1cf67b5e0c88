"""What submission.json claims. It is a convention, not a schema: any key may be missing, and several have two names."""

from dataclasses import dataclass, field

from golf.submission.reported_number import ReportedNumber, parse_number

_SEED_TABLE_KEYS = ("seed_results", "per_seed", "seeds", "runs")


@dataclass(frozen=True)
class SubmissionClaims:
    """bpb, loss, spread: the headline, nats a token, sd over seeds. total, code: bytes. seeds: the claims of each.

    listed: every seed that it names. record: whether it runs for a record, which the track says.
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


def parse_claims(data: dict) -> SubmissionClaims:
    """From the object of a submission.json or of one seed in it; what isn't understood is None."""
    seed_claims = _parse_seed_claims(data)
    seeds_value = data.get("seeds")
    seed_items = seeds_value if isinstance(seeds_value, list) else [data.get("seed")]
    return SubmissionClaims(
        bpb=_first_number(data, "val_bpb", "mean_val_bpb", "val_bpb_mean"),
        loss=_first_number(data, "val_loss", "mean_val_loss", "val_loss_mean"),
        bpb_std=_first_number(data, "val_bpb_std", "std_val_bpb"),
        total_bytes=_to_int(_first_number(data, "bytes_total", "artifact_bytes", "artifact_bytes_max", "total_bytes")),
        code_bytes=_to_int(_first_number(data, "bytes_code", "code_bytes")),
        per_seed=seed_claims,
        listed_seeds=tuple(
            sorted({*seed_claims, *(int(number.value) for item in seed_items if (number := parse_number(item)))})
        ),
        hardware=data["hardware"] if isinstance(data.get("hardware"), str) else "",
        is_record="non" not in str(data.get("track", "")).lower(),
    )


def _parse_seed_claims(data: dict) -> dict[int, SubmissionClaims]:
    """Claims by seed, from ``{seed: {...}}``, ``{seed: bpb}`` or ``[{"seed": ..., ...}]``."""
    table = next((data[key] for key in _SEED_TABLE_KEYS if isinstance(data.get(key), dict)), None)
    if table is None:
        rows = next(
            (data[key] for key in _SEED_TABLE_KEYS if any(isinstance(row, dict) for row in _get_list(data, key))), []
        )
        table = {row.get("seed"): row for row in rows if isinstance(row, dict) and parse_number(row.get("seed"))}
    rows = {parse_number(str(key).removeprefix("seed_")): row for key, row in table.items()}
    return {
        int(seed.value): parse_claims(row) if isinstance(row, dict) else SubmissionClaims(bpb=parse_number(row))
        for seed, row in rows.items()
        if seed is not None
    }


def _get_list(data: dict, key: str) -> list:
    return data[key] if isinstance(data.get(key), list) else []


def _first_number(data: dict, *keys: str) -> ReportedNumber | None:
    """The first of these keys that holds a number."""
    return next((number for key in keys if (number := parse_number(data.get(key)))), None)


def _to_int(number: ReportedNumber | None) -> int | None:
    return None if number is None else int(number.value)
