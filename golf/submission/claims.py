"""What submission.json claims. It is a convention, not a schema: any key may be missing, and several have two names."""

from dataclasses import dataclass, field

from golf.submission.figure import Figure, figure

SEED_TABLES = ("seed_results", "per_seed", "seeds", "runs")


@dataclass(frozen=True)
class Claims:
    """bpb, loss, spread: the headline, nats a token, sd over seeds. total, code: bytes. seeds: the claims of each.

    listed: every seed that it names. record: whether it runs for a record, which the track says.
    """

    bpb: Figure | None = None
    loss: Figure | None = None
    spread: Figure | None = None
    total: int | None = None
    code: int | None = None
    seeds: dict[int, "Claims"] = field(default_factory=dict)
    listed: tuple[int, ...] = ()
    hardware: str = ""
    record: bool = True


def claims(tree: dict) -> Claims:
    """From the object of a submission.json or of one seed in it; what isn't understood is None."""
    found = seeds(tree)
    named = tree.get("seeds")
    listed = named if isinstance(named, list) else [tree.get("seed")]
    return Claims(
        bpb=first(tree, "val_bpb", "mean_val_bpb", "val_bpb_mean"),
        loss=first(tree, "val_loss", "mean_val_loss", "val_loss_mean"),
        spread=first(tree, "val_bpb_std", "std_val_bpb"),
        total=count(first(tree, "bytes_total", "artifact_bytes", "artifact_bytes_max", "total_bytes")),
        code=count(first(tree, "bytes_code", "code_bytes")),
        seeds=found,
        listed=tuple(sorted({*found, *(int(one.value) for item in listed if (one := figure(item)))})),
        hardware=tree["hardware"] if isinstance(tree.get("hardware"), str) else "",
        record="non" not in str(tree.get("track", "")).lower(),
    )


def seeds(tree: dict) -> dict[int, Claims]:
    """Claims by seed, from ``{seed: {...}}``, ``{seed: bpb}`` or ``[{"seed": ..., ...}]``."""
    table = next((tree[key] for key in SEED_TABLES if isinstance(tree.get(key), dict)), None)
    if table is None:
        rows = next((tree[key] for key in SEED_TABLES if any(isinstance(row, dict) for row in listing(tree, key))), [])
        table = {row.get("seed"): row for row in rows if isinstance(row, dict) and figure(row.get("seed"))}
    rows = {figure(str(key).removeprefix("seed_")): row for key, row in table.items()}
    return {
        int(seed.value): claims(row) if isinstance(row, dict) else Claims(bpb=figure(row))
        for seed, row in rows.items()
        if seed is not None
    }


def listing(tree: dict, key: str) -> list:
    return tree[key] if isinstance(tree.get(key), list) else []


def first(tree: dict, *keys: str) -> Figure | None:
    """The first of these keys that holds a number."""
    return next((read for key in keys if (read := figure(tree.get(key)))), None)


def count(read: Figure | None) -> int | None:
    return None if read is None else int(read.value)
