"""The figures of a campaign that its page shows, from the campaign's folder alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from golf.cli.campaign import collection, statistics
from golf.cli.campaign.baseline import Baseline
from golf.cli.campaign.state import Campaign
from golf.errors import ArtifactError, InputError
from golf.evaluation.scoring_loop import MODES

__all__ = ["CampaignFiles", "DocumentSums", "open_campaign_files"]

_TOLERANCE = 1e-9  # relative: both sides are float64 sums over the same rows
DocumentSums = tuple[np.ndarray, np.ndarray]
"""Bits float64 [D] and bytes int64 [D] of D documents, in the order of val."""


@dataclass(frozen=True)
class CampaignFiles:
    """report: what ``golf campaign --json`` prints."""

    campaign: Campaign
    report: dict[str, Any]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The report's runs, in the order of --seeds."""
        by_seed = {run["seed"]: run for run in self.report["runs"]}
        return [by_seed[seed] for seed in self.report["seeds"] if seed in by_seed]

    def read_metrics(self, seed: int) -> dict[str, Any]:
        """Return what the campaign keeps of metrics.json of a seed that has a score."""
        metrics: dict[str, Any] = self._find_run(seed)["metrics"]
        return metrics

    def name_documents_file(self, seed: int) -> str:
        """Return how the page names a seed's sums over documents, wherever the campaign lies."""
        return str(self._find_run(seed)["documents"]["file"])

    def read_documents(self, seed: int) -> dict[str, DocumentSums] | None:
        """Return a seed's sums over documents by mode; None where their file is missing.

        Raises ArtifactError for a file that is damaged or does not give the seed's scores.
        """
        path = self.campaign.folder / self.name_documents_file(seed)
        if not path.is_file():
            return None
        run = self._find_run(seed)
        sums = {mode: collection.read_documents(self.campaign.folder, run, mode) for mode in MODES}
        for mode, (bits, n_bytes) in sums.items():
            stated, computed = run["metrics"][f"val_bpb_{mode}"], bits.sum() / n_bytes.sum()
            if not np.isclose(computed, stated, rtol=_TOLERANCE, atol=0):
                problem = f"gives {computed:.6f} bpb in the mode {mode}, campaign.json states {stated:.6f}"
                raise ArtifactError(path, problem, "restore the campaign's folder, or start again under another --name")
        return sums

    def _find_run(self, seed: int) -> dict[str, Any]:
        """The record of a seed that has a score."""
        run = self.campaign.find_run(seed)
        assert run is not None
        return run


def open_campaign_files(campaign: Campaign, baseline: Baseline | None) -> CampaignFiles:
    """Return the figures of a campaign beside those of a baseline, if one is named.

    Raises InputError if no seed has a score or the baseline does not compare.
    """
    if not campaign.runs:
        seeds = " ".join(map(str, campaign.seeds))
        raise InputError(
            f"--campaign {campaign.name}: no seed has a score yet; run it first: golf campaign --name {campaign.name} "
            f"--seeds {seeds}"
        )
    return CampaignFiles(campaign, statistics.build_report(campaign, baseline))
