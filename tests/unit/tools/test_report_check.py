"""tools/report_check.py: the page in a browser, or NOT-RUN"""

import base64
import io
import json
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools import report_check

BROWSER = """#!{python}
import json, os, pathlib
events = json.loads(pathlib.Path(__file__).with_name("events.json").read_text())
overflow = json.loads(pathlib.Path(__file__).with_name("overflow.json").read_text())
results = {{
    "Target.createTarget": {{"targetId": "t"}},
    "Target.attachToTarget": {{"sessionId": "s"}},
    "Page.navigate": {{"loaderId": "l"}},
    "Runtime.evaluate": {{"result": {{"value": overflow}}}},
    "Page.captureScreenshot": {{"data": pathlib.Path(__file__).with_name("picture.txt").read_text()}},
}}
source, target = os.fdopen(3, "rb"), os.fdopen(4, "wb")
def tell(message):
    target.write(json.dumps(message).encode() + bytes(1))
    target.flush()
received = b""
while data := os.read(3, 1 << 16):
    received += data
    *messages, received = received.split(bytes(1))
    for message in map(json.loads, messages):
        tell({{"id": message["id"], "result": results.get(message["method"], {{}})}})
        if message["method"] == "Page.navigate":
            for event in events:
                tell(event)
            tell({{"method": "Page.lifecycleEvent", "params": {{"name": "load", "loaderId": "l", "frameId": "f"}}}})
"""
FITTING = {"limit": 390, "width": 390, "wide": []}


@pytest.fixture
def page(tmp_path, monkeypatch) -> Path:
    """A page, and a folder bin/ as the first one on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(report_check, "BROWSERS", ("stand-in-browser",))
    (tmp_path / "page.html").write_text("<p>page</p>")
    return tmp_path / "page.html"


def install_browser(page: Path, *events: dict, overflow: dict = FITTING, script: str | None = None) -> None:
    """A program that answers every command, and tells ``events`` while a page loads."""
    path = page.parent / "bin/stand-in-browser"
    path.parent.mkdir()
    path.write_text(script or BROWSER.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    path.with_name("events.json").write_text(json.dumps(events))
    path.with_name("overflow.json").write_text(json.dumps(overflow))
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    picture = io.BytesIO()
    Image.fromarray(noise).save(picture, "png")
    path.with_name("picture.txt").write_text(base64.b64encode(picture.getvalue()).decode())


def request_event(url: str) -> dict:
    return {"method": "Network.requestWillBeSent", "params": {"request": {"url": url}}}


def test_without_a_browser_the_check_says_not_run_and_how_to_install_one(page, capsys):
    assert report_check.main([str(page)]) == 0
    message = capsys.readouterr().out
    assert message.startswith("report-check: NOT-RUN, none of stand-in-browser is on PATH")
    assert "apt-get install chromium" in message


def test_a_silent_page_without_requests_is_fine_and_its_pictures_are_kept(page, capsys):
    install_browser(page, request_event(page.as_uri()), request_event("data:,"))
    folder = page.parent / "pictures"
    assert report_check.main([str(page), "--screenshots", str(folder)]) == 0
    assert "renders in stand-in-browser, silent and offline" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["report_desktop.png", "report_phone.png"]
    with Image.open(folder / "report_phone.png") as picture:
        assert (picture.size, picture.mode) == ((64, 64), "P")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (request_event("https://fonts.example.org/a.css"), "a request left: https://fonts.example.org/a.css"),
        (request_event("file:///etc/hostname"), "a request left: file:///etc/hostname"),
        ({"method": "Log.entryAdded", "params": {"entry": {"text": "Refused to load"}}}, "on the console: Refused"),
        ({"method": "Runtime.consoleAPICalled", "params": {"args": [{"value": "hi"}]}}, "on the console: hi"),
        (
            {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": {"text": "Uncaught"}}},
            "on the console: Uncaught",
        ),
    ],
)
def test_a_message_on_the_console_and_a_request_that_leaves_are_found(page, capsys, event, words):
    install_browser(page, event)
    assert report_check.main([str(page)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        f"{window}, {scheme}" for window in ("desktop", "phone") for scheme in ("light", "dark")
    ]
    assert all(words in line for line in lines)


def test_a_page_wider_than_its_window_names_the_element_that_is(page, capsys):
    install_browser(page, overflow={"limit": 390, "width": 480, "wide": ["<table>"]})
    assert report_check.main([str(page)]) == 1
    assert "phone, dark: wider than the window of 390 pixels: <table>" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["echo no display >&2; exit 3", "head -c 1 <&3; echo no display >&2; exit 3"])
def test_a_browser_that_fails_is_a_problem(page, capsys, command):
    install_browser(page, script=f"#!/bin/sh\n{command}\n")
    assert report_check.main([str(page)]) == 1
    assert "the browser ended with code 3: no display" in capsys.readouterr().out


def test_a_browser_that_does_not_answer_is_a_problem(page, capsys, monkeypatch):
    monkeypatch.setattr(report_check, "_TIMEOUT_S", 0.2)
    install_browser(page, script="#!/bin/sh\nexec sleep 60\n")
    assert report_check.main([str(page)]) == 1
    assert "the browser did not answer within 0.2 s" in capsys.readouterr().out
