"""Run the seeds of a campaign that have no score yet, one after the other, and resume where a campaign broke off."""

import re
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from golf.cli.campaign import collection, identity, state
from golf.cli.campaign.experiments import Experiments
from golf.cli.campaign.state import CAMPAIGNS_DIR, Campaign
from golf.errors import ConfigError, GolfError, InputError, UnavailableError
from golf.pipeline import dvc_state, lock

__all__ = ["CampaignRequest", "run_campaign"]

_SOURCE_DIRS = ("golf", "stages", "dvc.yaml", "params.yaml")
_MAX_SHOWN_FILES = 3


@dataclass(frozen=True)
class CampaignRequest:
    """The arguments of a run. name: None for one by profile and settings. only: the seeds to run now; None: all."""

    seeds: Sequence[int]
    overrides: dict[str, str]
    name: str | None = None
    only: Sequence[int] | None = None


def run_campaign(request: CampaignRequest, experiments: Experiments) -> Campaign:
    """Run or take from finished experiments each seed without a score, and return the campaign.

    Raises InputError when the campaign would be mixed with other settings, code or data, GolfError after a failed
    experiment or an interrupt; the same command then resumes.
    """
    try:
        return _run_seeds(request, experiments)
    except KeyboardInterrupt:
        raise GolfError("interrupted; the same command resumes") from None


def _run_seeds(request: CampaignRequest, experiments: Experiments) -> Campaign:
    dvc_state.require_intact_dvc_state()
    current = identity.read_identity(request.overrides)
    name = request.name or identity.make_default_name(current.settings)
    state.require_name(name)
    _require_seeds(request)
    with lock.hold_file_lock(CAMPAIGNS_DIR / "lock"):  # of all campaigns here: two at once falsify the seconds
        campaign = _open_campaign(name, request, current)
        _require_tracked(current, experiments)
        _require_absolute_root(current)
        campaign.save()
        for seed in [seed for seed in campaign.missing_seeds if request.only is None or seed in request.only]:
            try:
                _finish_seed(campaign, seed, experiments)
            except KeyboardInterrupt:
                raise GolfError(
                    f"interrupted at seed {seed}; {len(campaign.runs)} of {len(campaign.seeds)} seeds have a score; "
                    f"the same command resumes"
                ) from None
    return campaign


def _require_seeds(request: CampaignRequest) -> None:
    for option, seeds in (("--seeds", request.seeds), ("--only", request.only or ())):
        if repeated := sorted({seed for seed in seeds if list(seeds).count(seed) > 1}):
            raise InputError(f"{option}: {repeated[0]} is given twice; a seed counts once")
    if unknown := [seed for seed in request.only or () if seed not in request.seeds]:
        raise InputError(f"--only: {unknown[0]} is not among --seeds; name all seeds of the campaign there")


def _open_campaign(name: str, request: CampaignRequest, current: identity.Identity) -> Campaign:
    if not (CAMPAIGNS_DIR / name / state.STATE_FILE).is_file():
        return state.create(name, request.seeds, current, request.overrides)
    campaign = state.load(CAMPAIGNS_DIR / name)
    campaign.require_identity(current)
    campaign.extend(request.seeds)
    return campaign


def _require_tracked(current: identity.Identity, experiments: Experiments) -> None:
    """Raises InputError when the copy in which an experiment runs would lack a file."""
    if untracked := experiments.find_untracked(*_SOURCE_DIRS, *current.inputs):
        names = ", ".join(untracked[:_MAX_SHOWN_FILES]) + ", …" * (len(untracked) > _MAX_SHOWN_FILES)
        raise InputError(
            f"{names}: not known to Git, so an experiment, which runs in a copy of what Git and DVC track, would lack "
            f"{'it' if len(untracked) == 1 else 'them'}; run: git add (texts: dvc add), or remove what is not needed"
        )


def _require_absolute_root(current: identity.Identity) -> None:
    root = current.settings["hub.root"]
    if current.settings["fetch.source"] == "hub" and root and not Path(root).expanduser().is_absolute():
        raise ConfigError(
            f"hub.root: must be an absolute path, as experiments run in a copy of the project, got {root!r}"
        )


def _finish_seed(campaign: Campaign, seed: int, experiments: Experiments) -> None:
    """Give a seed its score: from a finished experiment if there is one, else by running it."""
    _require_no_orphan(campaign)
    campaign.require_identity(identity.read_identity(campaign.overrides))  # a file may have been edited since
    name = campaign.make_experiment_name(seed)
    revisions = experiments.find(name)
    if not revisions:
        revisions = _run_experiment(campaign, seed, name, experiments)
    else:
        _log(campaign, f"seed {seed}: experiment {name} has ended already")
    record = collection.collect_run(
        experiments.open(revisions[0]), name, seed, campaign.identity, campaign.data, campaign.folder
    )
    own: dict[str, Any] = next((entry for entry in campaign.current if entry["experiment"] == name), {})
    ran_stages = _list_ran_stages(campaign.folder / f"seed_{seed}.log") if own else []
    campaign.runs.append(
        record
        | {
            "revision": revisions[0],
            "order": len(campaign.runs) + 1,
            "attempts": campaign.attempts.get(str(seed), 0),
            "host": own["host"] if "train" in ran_stages else None,  # DVC's cache may hold another machine's training
            "started_at": own.get("started_at"),
            "ended_at": _now(),
            "ran_stages": ran_stages,
        }
    )
    campaign.current = []
    campaign.save()


def _list_ran_stages(log: Path) -> list[str]:
    """The stages that DVC ran in any attempt at a seed, sorted; the others came from its cache."""
    return sorted({name.decode() for name in re.findall(rb"(?m)^Running stage '(\w+)'", log.read_bytes())})


def _run_experiment(campaign: Campaign, seed: int, name: str, experiments: Experiments) -> list[str]:
    """Run the experiment and return its revision. Raises GolfError when it fails."""
    position = f"{campaign.seeds.index(seed) + 1} of {len(campaign.seeds)}"
    _log(campaign, f"seed {seed} ({position}): experiment {name}")
    entry: dict[str, Any] = {
        "seed": seed,
        "experiment": name,
        "host": socket.gethostname(),
        "started_at": _now(),
        "pid": None,
        "pid_created": None,
    }
    campaign.current = [entry]
    campaign.attempts[str(seed)] = campaign.attempts.get(str(seed), 0) + 1
    campaign.save()
    log = campaign.folder / f"seed_{seed}.log"
    overrides = campaign.overrides | {identity.SEED_KEY: str(seed)}
    exit_code = experiments.run(name, overrides, log, _make_pid_recorder(campaign, entry))
    revisions = experiments.find(name)
    if exit_code or not revisions:
        reason = f"exit code {exit_code}" if exit_code else "it left no experiment"
        raise GolfError(
            f"seed {seed}: the experiment failed ({reason}); {len(campaign.runs)} of {len(campaign.seeds)} seeds have "
            f"a score; the output is in {log}; correct the cause, then the same command resumes"
        )
    return revisions


def _make_pid_recorder(campaign: Campaign, entry: dict[str, Any]) -> Callable[[int], None]:
    def record_pid(pid: int) -> None:
        entry.update(pid=pid, pid_created=_get_creation_time(pid))
        campaign.save()

    return record_pid


def _require_no_orphan(campaign: Campaign) -> None:
    """Raises UnavailableError while an experiment runs whose campaign was killed."""
    for entry in campaign.current:
        pid, created = entry.get("pid"), entry.get("pid_created")
        if entry.get("host") == socket.gethostname() and pid and created and _get_creation_time(pid) == created:
            raise UnavailableError(
                f"seed {entry['seed']}: process {pid} of an interrupted command still runs it; wait for it, or end it: "
                f"kill -INT -{pid}"
            )


def _get_creation_time(pid: int) -> float | None:
    """When a process started, in seconds since the epoch; None if it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _log(campaign: Campaign, text: str) -> None:
    print(f"campaign {campaign.name}: {text}", file=sys.stderr, flush=True)
