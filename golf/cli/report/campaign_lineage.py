"""Sections on what a campaign is: its settings, and the code, texts, data and experiments behind its scores."""

import json
from collections.abc import Iterable, Mapping
from html import escape

from golf.cli.campaign.state import Campaign
from golf.cli.report import page
from golf.cli.report.campaign_files import CampaignFiles
from golf.cli.report.page import PageSection
from golf.compliance.check_result import NOT_RUN

__all__ = ["render_lineage_section", "render_settings_section"]

_DIGEST_CHARS = 12


def render_settings_section(files: CampaignFiles) -> PageSection:
    """Return what ``--set`` gave, and every setting that the seeds share."""
    campaign = files.campaign
    if campaign.overrides:
        overrides = page.render_table(("--set", "value"), _make_code_rows(campaign.overrides))
    else:
        overrides = page.render_paragraph(
            "No value was given by --set: the settings are those of params.yaml at that time."
        )
    settings = campaign.identity.settings
    values = {key: json.dumps(value, ensure_ascii=False) for key, value in settings.items()}
    every = page.render_details(
        f"All {len(values)} settings", page.render_table(("key", "value"), _make_code_rows(values))
    )
    label = page.render_paragraph(f"Profile {settings.get('profile', NOT_RUN)}; every seed has these settings.")
    return PageSection("settings", "Settings", label + overrides + every)


def render_lineage_section(files: CampaignFiles) -> PageSection:
    """Return the campaign's identity, the experiment of each seed, and the files that its stages left."""
    campaign, own = files.campaign, files.campaign.identity
    parts = [
        page.render_paragraph(
            f"Identity {own.digest[:_DIGEST_CHARS]}: the digest of {len(own.settings)} settings without the seed, "
            f"{len(own.code)} source files and {len(own.inputs)} texts or tokenizers of the user. Campaigns with the "
            "same identity differ in their seeds alone. Each seed's experiment was compared with it before its score "
            "was taken."
        ),
        page.render_table(
            ("seed", "experiment", "revision", "started", "ended", "stages that ran"), _list_experiments(files)
        ),
        page.render_paragraph("The other stages of a seed came from DVC's cache.", "muted"),
        page.render_details(
            "Data that fetch made, md5", page.render_table(("path", "md5"), _make_code_rows(campaign.data or {}))
        ),
        page.render_details("Files that stages left, md5 by seed", _make_stage_table(campaign)),
        page.render_details(f"All {len(own.code)} source files", _make_digest_table(own.code)),
    ]
    if own.inputs:
        parts.append(page.render_details("Texts and tokenizers of the user", _make_digest_table(own.inputs)))
    return PageSection("lineage", "Lineage", "".join(parts))


def _make_code_rows(values: Mapping[str, str]) -> Iterable[list[str]]:
    return ([f"<code>{escape(key)}</code>", escape(value)] for key, value in values.items())


def _make_digest_table(digests: Mapping[str, str]) -> str:
    short = {path: digest[:_DIGEST_CHARS] for path, digest in digests.items()}
    return page.render_table(("path", f"sha256, first {_DIGEST_CHARS} digits"), _make_code_rows(short))


def _list_experiments(files: CampaignFiles) -> Iterable[list[str]]:
    for run in files.runs:
        yield [
            str(run["seed"]),
            f"<code>{escape(run['experiment'])}</code>",
            escape(run["revision"][:_DIGEST_CHARS]),
            escape(run["started_at"] or NOT_RUN),
            escape(run["ended_at"]),
            escape(", ".join(run["ran_stages"]) or "none"),
        ]


def _make_stage_table(campaign: Campaign) -> str:
    """A row for each seed, a column for each stage whose file tells whether two runs share its result."""
    stages = list(dict.fromkeys(stage for run in campaign.runs for stage in run["stage_files"]))
    rows = [
        [str(run["seed"]), *(escape(str(run["stage_files"].get(stage, NOT_RUN))[:_DIGEST_CHARS]) for stage in stages)]
        for run in campaign.runs
    ]
    return page.render_table(("seed", *stages), rows)
