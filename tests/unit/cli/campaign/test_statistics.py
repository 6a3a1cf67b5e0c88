"""golf/cli/campaign: the figures and the table of a campaign, and its comparison with a baseline"""

import json
import math

import numpy as np
import pytest
from scipy import stats

from golf.artifacts import io
from golf.cli.campaign import baseline, state, statistics, table
from golf.cli.campaign.runner import CampaignRequest, run_campaign
from golf.errors import ArtifactError, InputError
from tests.helpers import submission_folders
from tests.helpers.campaigns import BPB_BY_SEED, FakeExperiments

SEEDS = (42, 314, 999)
GAINS = (0.0031, 0.0042, 0.0035)


def make_campaign(name, seeds=SEEDS, gains=(0.0, 0.0, 0.0), lr="0.003", metrics=None, md5s=None):
    """A campaign whose seeds have the scores of BPB_BY_SEED minus the gains, in bpb."""
    fake = FakeExperiments({seed: BPB_BY_SEED[seed] - gain for seed, gain in zip(seeds, gains, strict=False)})
    fake.metrics, fake.md5s = metrics or {}, md5s or {}
    return run_campaign(CampaignRequest(seeds, {"ttt.lr": lr}, name), fake)


def compare(ours, theirs):
    return statistics.build_report(ours, baseline.load_baseline(theirs))


def test_the_statistics_are_those_of_the_seeds(campaign_dir):
    report = statistics.build_report(make_campaign("a"), None)
    scores = [BPB_BY_SEED[seed] for seed in SEEDS]
    assert report["statistics"]["bpb"]["mean"] == pytest.approx(np.mean(scores), rel=1e-6)
    assert report["statistics"]["bpb"]["sd"] == pytest.approx(np.std(scores, ddof=1), rel=1e-3)
    assert report["statistics"]["bpb_plain"]["mean"] == pytest.approx(np.mean(scores) + 0.02, rel=1e-6)
    assert report["statistics"]["bpb"]["n"] == 3
    assert report["baseline"] is None


def test_the_tests_against_a_campaign_are_those_of_scipy_per_byte_and_per_token(campaign_dir):
    before = make_campaign("before")
    after = make_campaign("after", gains=GAINS, lr="0.004")
    result = compare(after, "before")["baseline"]
    for unit, key, factor in (("per_byte", "val_bpb", math.log(2)), ("per_token", "val_loss", 1.0)):
        ours, theirs = ([run["metrics"][key] * factor for run in side.runs] for side in (after, before))
        shifted = [value + 0.005 for value in ours]
        welch = stats.ttest_ind(ours, theirs, equal_var=False, alternative="less")
        paired = stats.ttest_rel(ours, theirs, alternative="less")
        assert result[unit]["gain_nats"] == pytest.approx(np.mean(theirs) - np.mean(ours))
        assert (result[unit]["t"], result[unit]["df"], result[unit]["p_above_0"]) == pytest.approx(
            (-welch.statistic, welch.df, welch.pvalue)
        )
        assert result[unit]["standard_error"] * result[unit]["t"] == pytest.approx(result[unit]["gain_nats"])
        assert result[unit]["p_above_0.005"] == pytest.approx(
            stats.ttest_ind(shifted, theirs, equal_var=False, alternative="less").pvalue
        )
        assert result[f"{unit}_paired"]["p_above_0"] == pytest.approx(paired.pvalue)
        assert result[f"{unit}_paired"]["p_above_0.005"] == pytest.approx(
            stats.ttest_rel(shifted, theirs, alternative="less").pvalue
        )


def test_documents_are_paired_where_both_campaigns_score_the_same_list(campaign_dir):
    before, after = make_campaign("before"), make_campaign("after", gains=GAINS, lr="0.004")
    documents = compare(after, "before")["baseline"]["documents"]
    assert documents["n"] == 4
    expected = np.mean([run["metrics"]["val_bpb"] for run in after.runs]) - np.mean(
        [run["metrics"]["val_bpb"] for run in before.runs]
    )
    assert documents["bpb_difference"] == pytest.approx(expected)
    assert documents["half_width"] > 0
    assert documents["improved_frac"] == 1.0
    for run in after.runs:
        run["documents"]["text_sha256"] = "0" * 64
    assert compare(after, "before")["baseline"]["documents"] is None


def test_other_seeds_are_tested_without_pairing_and_the_report_says_so(campaign_dir):
    make_campaign("before", seeds=(42, 314, 7))
    report = compare(make_campaign("after", gains=GAINS, lr="0.004"), "before")
    assert report["baseline"]["per_byte"] is not None
    assert [report["baseline"][key] for key in ("per_byte_paired", "per_token_paired", "documents")] == [None] * 3
    assert "the baseline has other seeds, so nothing is paired" in report["notes"]


def test_shared_artifacts_are_named(campaign_dir):
    make_campaign("before", md5s={"artifacts/compress/model.golf": "0" * 32})
    report = compare(make_campaign("after", gains=GAINS, lr="0.004"), "before")
    assert report["baseline"]["shared_stages"] == ["train", "ema"]
    assert "the same files as the baseline's, seed by seed: train, ema" in table.render_report(report)


def test_one_seed_gives_no_deviation_and_no_p_and_the_table_says_what_cannot_be_stated(campaign_dir):
    make_campaign("before")
    report = compare(make_campaign("one", seeds=(42,), gains=(0.004,), lr="0.004"), "before")
    assert report["statistics"]["bpb"]["sd"] is None
    assert report["baseline"]["per_byte"] is None
    text = table.render_report(report)
    assert "from one seed neither a standard deviation nor a p-value over seeds can be stated" in text
    assert "per byte, Welch                  NOT-RUN" in text


def test_an_invalid_score_is_named_and_not_tested(campaign_dir):
    make_campaign("before")
    invalid = make_campaign("invalid", gains=GAINS, lr="0.004", metrics={"verdict": "invalid: C1-a"})
    report = compare(invalid, "before")
    assert report["baseline"]["per_byte"] is None
    assert "seed 42 is invalid: invalid: C1-a" in report["notes"]
    with pytest.raises(InputError, match="campaign invalid: the score of seed 42 is invalid"):
        baseline.load_baseline("invalid")


def test_a_submission_folder_is_a_baseline(campaign_dir, tmp_path):
    submission_folders.write_valid_submission(tmp_path / "folder")
    report = compare(make_campaign("a", gains=(0.02, 0.02, 0.021)), str(tmp_path / "folder"))
    result = report["baseline"]
    theirs = [value * math.log(2) for value in submission_folders.BPB_BY_SEED.values()]
    ours = [run["bpb"] * math.log(2) for run in report["runs"]]
    assert (result["kind"], result["bpb"]["n"]) == ("submission", 3)
    assert result["per_byte"]["p_above_0.005"] == pytest.approx(
        stats.ttest_ind([value + 0.005 for value in ours], theirs, equal_var=False, alternative="less").pvalue
    )
    assert result["per_token"] is None, "another number of bytes per token"


@pytest.mark.parametrize(
    ("source", "message"),
    [("missing", "the campaigns here are a"), ("a", "is the campaign itself"), ("runs/campaigns/a", "the campaign it")],
)
def test_a_baseline_that_is_none_is_refused(campaign_dir, source, message):
    with pytest.raises(InputError, match=message):
        compare(make_campaign("a"), source)


def test_a_baseline_on_another_text_is_refused(campaign_dir):
    make_campaign("before", metrics={"val_bytes": 999})
    with pytest.raises(InputError, match="before scores 999 bytes of val, a 650: not the same text"):
        compare(make_campaign("a"), "before")


def test_sums_over_documents_of_another_run_are_refused(campaign_dir):
    make_campaign("before")
    after = make_campaign("after", gains=GAINS, lr="0.004")
    folder = state.CAMPAIGNS_DIR / "before"
    io.write_bytes(folder / "seed_42_documents.safetensors", (folder / "seed_314_documents.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match=r"seed_42_documents\.safetensors: is not the file that campaign"):
        compare(after, "before")


def test_the_report_is_json_and_the_table_shows_seed_machine_order_and_seconds(campaign_dir):
    campaign = make_campaign("a")
    report = statistics.build_report(campaign, None)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    row = next(line for line in table.render_report(report).splitlines() if line.startswith("314"))
    cells = row.split()
    assert cells[:3] == ["314", "2", "1.080300"]
    assert "588.0" in cells
    assert f"2 × CPU core (x86_64), {report['runs'][0]['host']}" in row


def test_what_makes_seeds_unlike_is_noted(campaign_dir):
    campaign = make_campaign("a", metrics={"comparable_with_fineweb": False})
    campaign.runs[1]["machines"]["train"] |= {"hardware": "8 × H100", "used_by_others": 0.5}
    campaign.runs[0]["ran_stages"] = campaign.runs[2]["ran_stages"] = ["evaluate"]
    notes = statistics.build_report(campaign, None)["notes"]
    assert notes == [
        "the seeds ran on different hardware, so their seconds do not compare",
        "other programs used the cores while these trained: seed 314",
        "not trained by this campaign, so their seconds are an earlier run's: seeds 42, 999",
        "these scores are for this corpus and not comparable with scores on FineWeb",
    ]
