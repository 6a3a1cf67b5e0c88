"""golf/cli/report/: golf report --campaign writes one page of all seeds"""

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from golf.artifacts import io
from golf.cli.campaign import state
from golf.cli.campaign.runner import CampaignRequest, run_campaign
from golf.cli.main import main
from golf.cli.report import campaign_scores, command
from golf.errors import ArtifactError
from tests.helpers import report_pages, submission_folders
from tests.helpers.campaigns import BPB_BY_SEED, FakeExperiments
from tests.helpers.report_pages import read_section

SECTIONS = ("result", "seeds", "modes", "documents", "baseline", "verdicts", "settings", "lineage")
MODES = ("plain", "sliding", "ttt")
CHARTS = {f"{kind}-{mode}" for kind in ("seeds", "documents") for mode in MODES} | {"documents-distance"}
SEEDS = (42, 314, 999)


def make_campaign(name="a", seeds=SEEDS, gain=0.0, lr="0.003", only=None, **metrics):
    """A campaign whose seeds have the scores of BPB_BY_SEED minus ``gain``, in bpb."""
    fake = FakeExperiments({seed: BPB_BY_SEED[seed] - gain * (1 + seed / 5000) for seed in seeds})
    fake.metrics = metrics
    return run_campaign(CampaignRequest(seeds, {"ttt.lr": lr}, name, only), fake)


def render(name="a", baseline=None) -> ElementTree.Element:
    command.write_campaign_report(name, Path("report.html"), baseline)
    return report_pages.parse_page()


def test_the_page_of_a_campaign_has_every_section_and_every_chart(campaign_dir, capsys):
    make_campaign("before")
    make_campaign("a", gain=0.004, lr="0.004")
    capsys.readouterr()
    assert main(["report", "--campaign", "a", "--baseline", "before", "--out", "campaign.html"]) == 0
    n_bytes = Path("campaign.html").stat().st_size
    assert capsys.readouterr().out == f"campaign.html: {n_bytes:,} bytes, {len(SECTIONS)} sections\n"
    root = report_pages.parse_page("campaign.html")
    assert [node.get("id") for node in root.iter("section")] == list(SECTIONS)
    assert report_pages.find_charts(root) == CHARTS
    boxes = ["".join(node.itertext()) for node in root.iter("p") if node.get("class") == "box"]
    assert [box.partition(";")[0] for box in boxes] == ["NOT-RUN: bpb by position in the document"]
    report_pages.assert_whole_html("campaign.html", SECTIONS)
    report_pages.assert_no_address("campaign.html")


def test_the_figures_are_those_of_the_seeds(campaign_dir):
    campaign = make_campaign()
    root = render()
    scores = [BPB_BY_SEED[seed] for seed in SEEDS]
    mean, deviation = np.mean(scores), np.std(scores, ddof=1)
    assert f"{mean:.6f} bpb ± {deviation:.6f}" in read_section(root, "result")
    assert "the mean over 3 of 3 seeds" in read_section(root, "result")
    seeds, modes = read_section(root, "seeds"), read_section(root, "modes")
    host = campaign.runs[0]["host"]
    assert f"314 2 1.080300 {campaign.runs[1]['metrics']['val_loss']:.6f}" in " ".join(seeds_cells(root))
    assert f"588.0 1.0 2 × CPU core (x86_64), {host}" in " ".join(seeds_cells(root))
    stats = [float(value) for value in re.findall(r"\d\.\d{6}", seeds)]
    assert pytest.approx(mean, abs=1e-6) in stats
    assert pytest.approx(deviation, abs=1e-6) in stats
    for mode, increase in (("plain", 0.02), ("sliding", 0.01), ("ttt", 0.0)):
        assert f"{mean + increase:.6f}" in modes, mode
    assert "(headline)" in modes
    assert f"From the lowest to the highest: {max(scores) - min(scores):.6f} bpb" in modes


def seeds_cells(root) -> list[str]:
    section = next(node for node in root.iter("section") if node.get("id") == "seeds")
    return ["".join(cell.itertext()) for cell in section.iter("td")]


def test_the_lines_over_documents_are_bits_over_bytes_and_end_at_the_score(campaign_dir):
    run = make_campaign().runs[0]
    tensors, _ = io.load_tensors(state.CAMPAIGNS_DIR / "a/seed_42_documents.safetensors")
    bits, n_bytes = tensors["bits_ttt"].numpy(), tensors["bytes"].numpy()
    points = campaign_scores.compute_running_bpb(bits, n_bytes)
    assert points[0] == (1.0, pytest.approx(bits[0] / n_bytes[0]))
    assert points[-1] == (4.0, pytest.approx(run["metrics"]["val_bpb"]))
    many = campaign_scores.compute_running_bpb(np.ones(5000), np.array([0] * 60 + [2] * 4940))
    assert (many[-1], len(many)) == ((5000.0, pytest.approx(5000 / 9880)), 98), "thinned, and from the first byte on"


def test_overrides_settings_and_identity_are_shown(campaign_dir):
    campaign = make_campaign()
    root = render()
    settings, lineage = read_section(root, "settings"), read_section(root, "lineage")
    assert "ttt.lr0.003" in settings
    assert f"All {len(campaign.identity.settings)} settings" in settings
    assert "train.limit_s" in settings
    assert campaign.identity.digest[:12] in lineage
    for run in campaign.runs:
        assert run["experiment"] in lineage
    assert "stages/fetch.py" in lineage
    assert "artifacts/fetch/val" in lineage


def test_the_verdict_of_each_seed_is_shown_and_an_invalid_one_is_labeled(campaign_dir):
    make_campaign(verdict="invalid: C1-e (<val>)")
    root = render()
    assert read_section(root, "verdicts").count("invalid: C1-e (<val>)") == 3
    labels = [node.text for node in root.iter("span") if node.get("class") == "fail"]
    assert labels == ["invalid"] * 10, "the headline's mean, and each seed's score, mode's mean, and verdict"
    assert "seed 42 is invalid" in read_section(root, "result")


def test_an_invalid_mode_and_a_disputed_method_are_labeled(campaign_dir):
    make_campaign(verdict="valid, not a record run: a; disputed: several epochs, asked", invalid_modes="plain, sliding")
    root = render()
    labels = [(node.get("class"), node.text) for node in root.iter("span") if node.get("class") in ("fail", "unruled")]
    assert labels == [("unruled", "disputed"), ("fail", "invalid"), ("fail", "invalid")]
    rows = ["".join(row.itertext()) for row in root.iter("tr")]
    assert [row.partition(" invalid")[0] for row in rows if " invalid" in row] == ["plain windows", "sliding windows"]
    assert "Verdicts: valid, not a record run (3 seeds)." in read_section(root, "result")


def test_seeds_without_a_score_are_not_run(campaign_dir):
    make_campaign(only=[314])
    root = render()
    result = read_section(root, "result")
    assert "NOT-RUN: no score yet: 42, 999; run them with: golf campaign --name a --seeds 42 314 999" in result
    assert "NOT-RUN: the standard deviation over seeds; it needs two seeds with a score" in result
    assert "± 0" not in result
    assert seeds_cells(root)[:8] == ["42", *["NOT-RUN"] * 7]
    assert read_section(root, "verdicts").count("NOT-RUN") == 2
    assert "documents-distance" not in report_pages.find_charts(root)


def test_missing_sums_over_documents_are_not_run(campaign_dir):
    make_campaign()
    for seed in SEEDS:
        (state.CAMPAIGNS_DIR / f"a/seed_{seed}_documents.safetensors").unlink()
        root = render()
        text = read_section(root, "documents")
        assert f"NOT-RUN: seed_{seed}_documents.safetensors is missing from the campaign's folder; copy" in text
    assert report_pages.find_charts(root) == {f"seeds-{mode}" for mode in MODES}


def test_sums_that_do_not_give_the_stated_score_are_refused(campaign_dir):
    campaign = make_campaign()
    campaign.runs[1]["metrics"]["val_bpb_sliding"] += 1e-6
    campaign.save()
    with pytest.raises(ArtifactError, match=r"seed_314_documents\.safetensors: gives 1\.09030\d bpb in the mode slid"):
        render()


def test_the_tests_against_a_baseline_are_those_of_the_table(campaign_dir, capsys):
    make_campaign("before")
    make_campaign("a", gain=0.004, lr="0.004")
    capsys.readouterr()
    assert main(["campaign", "--show", "a", "--baseline", "before", "--json"]) == 0
    baseline = json.loads(capsys.readouterr().out)["baseline"]
    text = read_section(render("a", "before"), "baseline")
    for key in ("per_byte", "per_token", "per_byte_paired", "per_token_paired"):
        assert f"{baseline[key]['gain_nats']:+.6f}" in text, key
        assert f"{baseline[key]['p_above_0.005']:.3g}" in text, key
    assert "paired over 4 documents" in text
    assert "no baseline was named" not in text


def test_without_a_baseline_and_where_a_test_is_undefined_the_page_says_not_run(campaign_dir):
    submission_folders.write_valid_submission(campaign_dir / "folder")
    make_campaign()
    assert "NOT-RUN: no baseline was named; name one with --baseline" in read_section(render(), "baseline")
    text = read_section(render("a", "folder"), "baseline")
    assert "a submission: mean" in text
    assert "per token, WelchNOT-RUN" in text, "another number of bytes per token"
    assert "NOT-RUN: the difference paired over documents" in text


def test_the_same_campaign_gives_the_same_page_wherever_it_lies(campaign_dir):
    make_campaign()
    render()
    first = Path("report.html").read_bytes()
    shutil.move(state.CAMPAIGNS_DIR / "a", "moved")
    render("moved")
    assert Path("report.html").read_bytes() == first
    assert str(campaign_dir).encode() not in first


def test_many_long_seeds_leave_room_between_their_ticks(campaign_dir):
    seeds = tuple(10**15 + index for index in range(9))
    run_campaign(CampaignRequest(seeds, {}, "a"), FakeExperiments(dict.fromkeys(seeds, 1.08)))
    svg = next(node for node in render().iter("svg") if node.get("aria-labelledby") == "seeds-ttt-title")
    ticks = [node.text for node in svg.iter("text") if (node.text or "").startswith("10000000")]
    assert ticks == [str(seeds[0]), str(seeds[4]), str(seeds[8])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--campaign", "none"],
            "--campaign: 'none' is no campaign; its folder would hold campaign.json; the camp",
        ),
        (
            ["--campaign", "empty"],
            "--campaign empty: no seed has a score yet; run it first: golf campaign --name",
        ),
        (["--campaign", "a", "--baseline", "none"], "--baseline: 'none' is neither a campaign nor a submission folder"),
        (["--campaign", "a", "--baseline", "a"], "--baseline: a is the campaign itself"),
        (["--campaign", "a", "--out", "page.pdf"], "--out page.pdf: expected a file name that ends in .html"),
    ],
)
def test_what_is_no_campaign_with_scores_is_one_message_and_no_page_is_written(
    campaign_dir, capsys, arguments, message
):
    campaign = make_campaign()
    state.create("empty", SEEDS, campaign.identity, {}).save()
    capsys.readouterr()
    assert main(["report", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"golf report: {message}")
    assert len(captured.err.splitlines()) == 1
    assert not list(campaign_dir.glob("*.html"))


def test_a_damaged_campaign_is_one_message(campaign_dir, capsys):
    make_campaign()
    path = state.CAMPAIGNS_DIR / "a/campaign.json"
    path.write_text(path.read_text().replace("1.08", "1.07", 1))
    capsys.readouterr()
    assert main(["report", "--campaign", "a"]) == 1
    assert capsys.readouterr().err.startswith("golf report: runs/campaigns/a/campaign.json: ")


def test_a_run_and_a_campaign_exclude_each_other_and_a_baseline_needs_a_campaign(campaign_dir, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["report", "--run", "artifacts", "--campaign", "a"])
    assert stopped.value.code == 2
    assert "not allowed with argument --run" in capsys.readouterr().err
    assert main(["report", "--baseline", "a"]) == 2
    assert capsys.readouterr().err == "golf report: --baseline needs --campaign: a run has no seeds to test\n"
