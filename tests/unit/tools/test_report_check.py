"""tools/report_check.py: the page in a browser, or NOT-RUN"""

import json
import stat
from pathlib import Path

import pytest

from tools import report_check

BROWSER = """#!/bin/sh
for word in "$@"; do
  case "$word" in
    --screenshot=*) head -c 9000 /dev/zero > "${word#--screenshot=}" ;;
    --log-net-log=*) echo '%s' > "${word#--log-net-log=}" ;;
  esac
done
echo '%s' >&2
"""
FILE_REQUEST = {"params": {"url": "file:///page.html"}}


@pytest.fixture
def page(tmp_path, monkeypatch) -> Path:
    """A page, and a folder bin/ as the only one on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(report_check, "BROWSERS", ("stand-in-browser",))
    (tmp_path / "page.html").write_text("<p>page</p>")
    return tmp_path / "page.html"


def install_browser(page: Path, events: list[dict], console: str = "") -> None:
    path = page.parent / "bin/stand-in-browser"
    path.parent.mkdir()
    path.write_text(BROWSER % (json.dumps({"events": events}), console))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_without_a_browser_the_check_says_not_run(page, capsys):
    assert report_check.main([str(page)]) == 0
    assert capsys.readouterr().out.startswith("report-check: NOT-RUN, no browser: none of stand-in-browser")


def test_a_silent_page_without_requests_is_fine_and_its_pictures_are_kept(page, capsys):
    install_browser(page, [FILE_REQUEST])
    folder = page.parent / "pictures"
    assert report_check.main([str(page), "--screenshots", str(folder)]) == 0
    assert "renders in stand-in-browser, silent and offline" in capsys.readouterr().out
    names = [f"report_{window}_{scheme}.png" for window in ("desktop", "phone") for scheme in ("dark", "light")]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_a_message_on_the_console_and_a_request_that_leaves_are_found(page, capsys):
    message = '[1:1:INFO:CONSOLE(1)] "Refused to load", source: page.html (1)'
    install_browser(page, [FILE_REQUEST, {"params": {"url": "https://fonts.example.org/a.css"}}, {"type": 1}], message)
    assert report_check.main([str(page)]) == 1
    out = capsys.readouterr().out
    assert f"desktop, light: on the console: {message}" in out
    assert "phone, dark: a request left: https://fonts.example.org/a.css" in out


def test_a_browser_that_fails_is_a_problem(page, capsys):
    path = page.parent / "bin/stand-in-browser"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho no display >&2\nexit 3\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    assert report_check.main([str(page)]) == 1
    assert "the browser ended with code 3: no display" in capsys.readouterr().out


def test_a_log_that_was_cut_off_is_read_to_its_end():
    text = '{"constants": {}, "events": [\n' + json.dumps({"params": {"url": "http://a.example"}}) + ",\n"
    assert report_check.find_requests(text) == ["a request left: http://a.example"]
