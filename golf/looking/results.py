"""The table at the end of make run: bpb by each way of scoring, bytes and seconds against their limits, the verdict."""

import textwrap

from golf.ground import store

METRICS = "artifacts/evaluate/metrics.json"
NOT_RUN = "NOT-RUN"
INVALID = "invalid"
WIDTH = 80  # columns of the smallest terminal


def table(path=METRICS) -> str:
    """Fits a screen of 80 x 24. What was not measured says NOT-RUN; an invalid score says so beside the figure.

    Raises BadArtifact without metrics to show.
    """
    found = store.read_json(path)
    verdict = found.get("verdict", NOT_RUN)
    invalid = found.get("invalid_ways", "").split(", ")
    lines = ["", f"{'way of scoring':<18}{'val bpb':>10}{'± s.e.':>10}{'seconds':>10}"]
    for way in ("plain", "sliding", "ttt"):
        wrong = verdict.startswith(INVALID) or way in invalid
        marks = f"  {INVALID}" * wrong + "  <- headline" * (way == found.get("headline"))
        cells = (number(found.get(key), spec) for key, spec in way_cells(way))
        lines.append(f"{way:<18}" + "".join(f"{cell:>10}" for cell in cells) + marks)
    lines += [
        "",
        against("artifact bytes", found, "artifact_bytes", "limit_bytes", ",.0f"),
        f"{'':<18}model {number(found.get('payload_bytes'), ',.0f')}, code {number(found.get('code_bytes'), ',.0f')}",
        against("train seconds", found, "train_seconds", "train_limit_seconds", ".1f"),
        against("eval seconds", found, "eval_seconds", "eval_limit_seconds", ".1f"),
        f"{'':<18}and {number(found.get('probe_seconds'), '.1f')} for the probes",
        *textwrap.wrap(verdict, WIDTH, initial_indent=f"{'verdict':<18}", subsequent_indent=" " * 18),
    ]
    if found.get("comparable_with_fineweb") is not True:
        lines.append("These scores are of this corpus and can't be compared with scores on FineWeb.")
    lines += [
        "",
        "Look further: python -m golf check · dvc plots show · dvc metrics show ·",
        "              python -m golf inspect artifacts/compress/model.golf",
    ]
    return "\n".join(lines)


def way_cells(way: str):
    return ((f"val_bpb_{way}", ".4f"), (f"val_bpb_{way}_se", ".4f"), (f"seconds_{way}", ".1f"))


def number(value, spec: str) -> str:
    return NOT_RUN if value is None else format(value, spec)


def against(name: str, found: dict, key: str, limit_key: str, spec: str) -> str:
    """A figure beside its limit, of which null says that there is none."""
    value, limit = found.get(key), found.get(limit_key)
    if limit_key in found and limit is None and value is not None:
        return f"{name:<18}{number(value, spec):>12}  no limit"
    over = "  OVER" if value is not None and limit is not None and value > limit else ""
    return f"{name:<18}{number(value, spec):>12}  of {number(limit, spec)}{over}"
