"""tools/report_check.py in a real browser, where there is one"""

import shutil

import pytest

from golf.cli.campaign.runner import CampaignRequest, run_campaign
from golf.cli.report import command
from tests.helpers import campaigns
from tests.helpers.report_run import write_report_run
from tools import report_check

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not any(map(shutil.which, report_check.BROWSERS)), reason=report_check.INSTALL_HINT),
]
VIEWPORT = '<meta name="viewport" content="width=device-width" />'
FAULTS = {
    "<script>console.error('broken')</script>": "on the console: broken",
    "<script>missing()</script>": "on the console: Uncaught",
    '<img src="http://example.org/a.png" />': "a request left: http://example.org/a.png",
    '<p style="width:1500px">wide</p>': "wider than the window of 390 pixels: <p style",
}


def test_the_page_of_a_small_run_is_fine(tmp_path, monkeypatch, tiny_model_config, capsys):
    monkeypatch.chdir(tmp_path)
    command.write_report(write_report_run(tiny_model_config), tmp_path / "report.html")
    assert report_check.main([str(tmp_path / "report.html")]) == 0, capsys.readouterr().out


def test_the_page_of_a_campaign_is_fine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(campaigns.create_project(tmp_path))
    for name, lr in (("before", "0.003"), ("after", "0.004")):
        run_campaign(CampaignRequest((42, 314, 999), {"ttt.lr": lr}, name), campaigns.FakeExperiments())
    command.write_campaign_report("after", tmp_path / "report.html", "before")
    assert report_check.main([str(tmp_path / "report.html")]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_page_is_found_in_every_window(tmp_path, capsys, fault):
    page = tmp_path / "page.html"
    page.write_text(f"<!DOCTYPE html>{VIEWPORT}<h1>{'text ' * 400}</h1>{fault}")
    assert report_check.main([str(page)]) == 1
    assert FAULTS[fault] in capsys.readouterr().out
