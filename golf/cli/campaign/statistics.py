"""Compute statistics of a campaign's scores: their spread, and whether they are lower than a baseline's.

The test of the contest is Welch's, one-sided, of each seed's score (#1967); where seeds or artifacts are shared, a test
of the differences sees more (#2060). A gain is tested against 0 and against the 0.005 nats of the challenge's README,
which were read as per byte and as per token (docs/references.md#record-margin).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from golf.cli.campaign import collection
from golf.cli.campaign.baseline import Baseline, bits_to_nats, is_invalid, require_comparable
from golf.cli.campaign.state import Campaign
from golf.evaluation import significance
from golf.evaluation.scoring_loop import MODES
from golf.evaluation.significance import PairedDifference, PairedTest, WelchTest
from golf.submission.record_margin import MIN_GAIN_NATS, SAME_TOKENIZER_RATIO

__all__ = ["build_report"]

_REPORT_VERSION = 1
_BUSY_CORES = 0.1  # cores used by other programs
_Test = Callable[[Sequence[float], Sequence[float], float], WelchTest | PairedTest | None]


def build_report(campaign: Campaign, baseline: Baseline | None) -> dict[str, Any]:
    """Return what ``--json`` prints and the table shows; None stands for what the seeds do not allow to state.

    docs/results.md#campaigns describes the keys. Raises InputError for a baseline that does not compare, and
    ArtifactError for a damaged file of sums over documents.
    """
    if baseline is not None:
        require_comparable(baseline, campaign)
    runs = [_describe_run(run) for run in campaign.runs]
    metrics = [run["metrics"] for run in campaign.runs]
    keys = {"bpb": "val_bpb", "loss": "val_loss", **{f"bpb_{mode}": f"val_bpb_{mode}" for mode in MODES}}
    return {
        "version": _REPORT_VERSION,
        "name": campaign.name,
        "folder": campaign.folder.as_posix(),
        "headline": metrics[0]["headline"] if metrics else None,
        "seeds": campaign.seeds,
        "missing_seeds": campaign.missing_seeds,
        "overrides": campaign.overrides,
        "runs": runs,
        "statistics": {name: _summarize([figures[key] for figures in metrics]) for name, key in keys.items()},
        "baseline": None if baseline is None or not runs else _compare(campaign, baseline),
        "notes": _list_notes(campaign, baseline),
    }


def _describe_run(run: dict[str, Any]) -> dict[str, Any]:
    metrics = run["metrics"]
    return {
        **{key: run[key] for key in ("seed", "order", "attempts", "host", "started_at", "ended_at", "ran_stages")},
        "hardware": run["machines"]["train"]["hardware"],
        "used_by_others": run["machines"]["train"]["used_by_others"],
        "bpb": metrics["val_bpb"],
        "loss": metrics["val_loss"],
        **{f"bpb_{mode}": metrics[f"val_bpb_{mode}"] for mode in MODES},
        **{key: metrics[key] for key in ("artifact_bytes", "limit_bytes", "train_seconds", "eval_seconds", "verdict")},
        "experiment": run["experiment"],
        "revision": run["revision"],
    }


def _summarize(scores: list[float]) -> dict[str, Any] | None:
    if not scores:
        return None
    stats = significance.summarize(scores)
    return {"mean": stats.mean, "sd": stats.std, "n": stats.n}


def _compare(campaign: Campaign, baseline: Baseline) -> dict[str, Any]:
    """The statistics of the baseline and all tests against it."""
    bpb, loss = ([run["metrics"][key] for run in campaign.runs] for key in ("val_bpb", "val_loss"))
    has_invalid = any(map(is_invalid, campaign.runs))
    same_tokens = baseline.loss is not None and _has_same_tokenizer(bpb, loss, baseline)
    pairs = _pair_by_seed(campaign, baseline)

    def test(method: _Test, ours: Sequence[float], theirs: Sequence[float] | None) -> dict[str, Any] | None:
        return None if has_invalid or theirs is None else _run_tests(method, ours, theirs)

    per_token_baseline = baseline.loss if same_tokens else None
    report: dict[str, Any] = {
        "source": baseline.source,
        "kind": "submission" if baseline.campaign is None else "campaign",
        "seeds": baseline.seeds,
        "bpb": _summarize(baseline.bpb),
        "loss": None if baseline.loss is None else _summarize(baseline.loss),
        "per_byte": test(significance.run_welch_test, bits_to_nats(bpb), bits_to_nats(baseline.bpb)),
        "per_token": test(significance.run_welch_test, loss, per_token_baseline),
        "per_byte_paired": None,
        "per_token_paired": None,
        "documents": None,
        "shared_stages": None,
    }
    if pairs:
        ours, theirs = zip(*pairs, strict=True)
        bpb_sides, loss_sides = (
            [[run["metrics"][key] for run in side] for side in (ours, theirs)] for key in ("val_bpb", "val_loss")
        )
        report["per_byte_paired"] = test(significance.run_paired_test, *map(bits_to_nats, bpb_sides))
        report["per_token_paired"] = test(significance.run_paired_test, *loss_sides) if same_tokens else None
        report["shared_stages"] = _list_shared_stages(pairs)
        report["documents"] = None if has_invalid else _compare_documents(campaign, baseline, pairs)
    return report


def _has_same_tokenizer(bpb: list[float], loss: list[float], baseline: Baseline) -> bool:
    """Whether both sides have the same number of bytes per token, without which nats per token do not compare."""
    sides = ((bpb, loss), (baseline.bpb, baseline.loss or []))
    ratios = [token / byte for bytes_, tokens in sides for byte, token in zip(bytes_, tokens, strict=True)]
    return max(ratios) <= min(ratios) * SAME_TOKENIZER_RATIO


def _run_tests(method: _Test, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any] | None:
    """The test of a gain above 0, and the p of one above MIN_GAIN_NATS; None without two scores and some spread."""
    above_0, above_min = method(ours, theirs, 0.0), method(ours, theirs, MIN_GAIN_NATS)
    if above_0 is None or above_min is None:
        return None
    return {
        "gain_nats": above_0.gain,
        "standard_error": above_0.standard_error,
        "t": above_0.t,
        "df": above_0.df,
        "p_above_0": above_0.p,
        "p_above_0.005": above_min.p,
    }


def _pair_by_seed(campaign: Campaign, baseline: Baseline) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Our run and the baseline's of each seed; empty unless both campaigns have the same seeds."""
    if baseline.campaign is None or {run["seed"] for run in campaign.runs} != set(baseline.seeds or ()):
        return []
    return [(run, baseline.campaign.find_run(run["seed"]) or {}) for run in campaign.runs]


def _list_shared_stages(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    """The stages whose output is the same file on both sides for every seed."""
    stages = pairs[0][0]["stage_files"]
    return [
        stage
        for stage in stages
        if all(ours["stage_files"].get(stage) == theirs["stage_files"].get(stage) for ours, theirs in pairs)
    ]


def _compare_documents(
    campaign: Campaign, baseline: Baseline, pairs: list[tuple[dict[str, Any], dict[str, Any]]]
) -> dict[str, Any] | None:
    """The difference in bpb between the means over seeds, paired over documents; None for other documents or tokens."""
    assert baseline.campaign is not None
    if len({run["documents"]["text_sha256"] for pair in pairs for run in pair}) > 1:
        return None
    modes = {run["metrics"]["headline"] for pair in pairs for run in pair}
    if len(modes) > 1:
        return None
    (mode,) = modes
    sides = [
        [collection.read_documents(folder, pair[index], mode) for pair in pairs]
        for index, folder in enumerate((campaign.folder, baseline.campaign.folder))
    ]
    ours, theirs = (np.mean([bits for bits, _ in side], axis=0) for side in sides)
    change = PairedDifference(ours - theirs, sides[0][0][1])
    difference = change.bpb_difference
    return {
        "n": len(change.bytes),
        "bpb_difference": difference.value,
        "half_width": difference.half_width,
        "improved_frac": change.improved_fraction,
        "improved_bytes_frac": change.improved_bytes_fraction,
    }


def _list_notes(campaign: Campaign, baseline: Baseline | None) -> list[str]:
    """What a reader must know to take the figures for what they are."""
    runs = campaign.runs
    notes = [f"seed {run['seed']} is invalid: {run['metrics']['verdict']}" for run in runs if is_invalid(run)]
    if campaign.missing_seeds:
        notes.append(f"no score yet: {_name_seeds(campaign.missing_seeds)}")
    if len(runs) == 1:
        notes.append("from one seed neither a standard deviation nor a p-value over seeds can be stated")
    if campaign.named_late:
        notes.append(f"added when scores of others were known: {_name_seeds(campaign.named_late)}")
    machines = {run["seed"]: run["machines"]["train"] for run in runs}
    if len({machine["hardware"] for machine in machines.values()}) > 1:
        notes.append("the seeds ran on different hardware, so their seconds do not compare")
    if len({str(sorted(machine["packages"].items())) for machine in machines.values()}) > 1:
        notes.append("the seeds ran with different versions of packages; campaign.json lists them")
    if busy := [seed for seed, machine in machines.items() if (machine["used_by_others"] or 0) > _BUSY_CORES]:
        notes.append(f"other programs used the cores while these trained: {_name_seeds(busy)}")
    if cached := [run["seed"] for run in runs if "train" not in run["ran_stages"]]:
        notes.append(f"not trained by this campaign, so their seconds are an earlier run's: {_name_seeds(cached)}")
    if runs and runs[0]["metrics"]["comparable_with_fineweb"] is not True:
        notes.append("these scores are for this corpus and not comparable with scores on FineWeb")
    return notes + (_list_baseline_notes(campaign, baseline) if baseline is not None and runs else [])


def _name_seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _list_baseline_notes(campaign: Campaign, baseline: Baseline) -> list[str]:
    notes = []
    if any(map(is_invalid, campaign.runs)):
        notes.append("an invalid score is not tested against the baseline")
    if min(len(campaign.runs), len(baseline.bpb)) < 2:
        notes.append("a test over seeds needs two scores on each side")
    if baseline.campaign is None:
        return notes
    own, other = campaign.identity, baseline.campaign.identity
    if own.settings == other.settings and own.code == other.code and own.inputs == other.inputs:
        notes.append("the baseline has the same settings, code and inputs")
    if not _pair_by_seed(campaign, baseline):
        notes.append("the baseline has other seeds, so nothing is paired")
    headlines = {run["metrics"]["headline"] for side in (campaign, baseline.campaign) for run in side.runs}
    if len(headlines) > 1:
        notes.append(f"the headlines differ: {', '.join(sorted(headlines))}")
    return notes
