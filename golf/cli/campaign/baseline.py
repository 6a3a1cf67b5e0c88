"""Read what a campaign is compared with: another campaign, or the seeds of a submission folder."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.cli.campaign import state
from golf.cli.campaign.state import Campaign
from golf.compliance.verdict import INVALID
from golf.errors import InputError
from golf.submission.record_margin import load_seed_scores

__all__ = ["Baseline", "bits_to_nats", "is_invalid", "load_baseline", "require_comparable"]


@dataclass(frozen=True)
class Baseline:
    """bpb: of each seed. loss: in nats per token of each seed, None where one is not stated.

    seeds: in the order of the scores; None for a submission. campaign: None for a submission.
    """

    source: str
    bpb: list[float]
    loss: list[float] | None
    seeds: list[int] | None = None
    campaign: Campaign | None = None


def load_baseline(source: str) -> Baseline:
    """Return the scores of a campaign, given by name or folder, or of a submission folder or submission.json.

    Raises InputError if it is neither or has no valid score.
    """
    folder = state.resolve_folder(source)
    if folder is not None:
        return _load_campaign(source, folder)
    if not Path(source).exists():
        known = state.describe_known_campaigns()
        raise InputError(f"--baseline: {source!r:.80} is neither a campaign nor a submission folder; {known}")
    scores = load_seed_scores(Path(source))
    losses = [loss.value for _, loss in scores if loss is not None]
    return Baseline(source, [bpb.value for bpb, _ in scores], losses if len(losses) == len(scores) else None)


def _load_campaign(source: str, folder: Path) -> Baseline:
    campaign = state.load(folder)
    if not campaign.runs:
        raise InputError(f"--baseline: campaign {campaign.name} has no score yet; run it first")
    if invalid := [run["seed"] for run in campaign.runs if is_invalid(run)]:
        raise InputError(f"--baseline: campaign {campaign.name}: the score of seed {invalid[0]} is invalid")
    return Baseline(
        source,
        [run["metrics"]["val_bpb"] for run in campaign.runs],
        [run["metrics"]["val_loss"] for run in campaign.runs],
        [run["seed"] for run in campaign.runs],
        campaign,
    )


def require_comparable(baseline: Baseline, ours: Campaign) -> None:
    """Raise InputError if the baseline is the campaign itself or scores another number of bytes."""
    theirs = baseline.campaign
    if theirs is None:
        return
    if theirs.folder.resolve() == ours.folder.resolve():
        raise InputError(f"--baseline: {baseline.source} is the campaign itself; name another")
    if not ours.runs:
        return
    sizes = [campaign.runs[0]["metrics"]["val_bytes"] for campaign in (theirs, ours)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"--baseline: campaign {theirs.name} scores {sizes[0]:,} bytes of val, {ours.name} {sizes[1]:,}: not the "
            f"same text, so the scores don't compare"
        )


def is_invalid(run: Mapping[str, Any]) -> bool:
    """Return whether the verdict of a run forbids its score."""
    return str(run["metrics"]["verdict"]).startswith(INVALID)


def bits_to_nats(bits: list[float]) -> list[float]:
    """Return bits per byte as nats per byte."""
    return [value * math.log(2) for value in bits]
