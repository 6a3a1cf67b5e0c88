"""Open the page of ``golf report`` in headless Chromium: ``make report-check``; NOT-RUN on a machine without one.

The page must render on a desktop and on a phone, in light and dark, without a message on the console and without a
request that leaves the machine. ``--screenshots FOLDER`` keeps the pictures.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WINDOWS = {"desktop": (1280, 1600), "phone": (390, 1600)}  # width and height in pixels
_TIMEOUT_S = 120
_MIN_PICTURE_BYTES = 5_000  # a page that renders nothing compresses to less
_FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--net-log-capture-mode=Everything",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Check a page. Returns 0 if it is fine or no browser is there, which the one line printed says, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.report_check", description=__doc__)
    parser.add_argument("page", type=Path, help="written by golf report")
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="keep the pictures here")
    args = parser.parse_args(argv)
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"report-check: NOT-RUN, no browser: none of {', '.join(BROWSERS)} is on PATH")
        return 0
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for name, size in WINDOWS.items():
            for scheme in ("light", "dark"):
                picture = Path(folder) / f"report_{name}_{scheme}.png"
                problems += [f"{name}, {scheme}: {text}" for text in check_page(browser, args.page, picture, size)]
                if args.screenshots and picture.is_file():
                    args.screenshots.mkdir(parents=True, exist_ok=True)
                    shutil.copy(picture, args.screenshots)
    print("\n".join(problems) or f"report-check: {args.page} renders in {Path(browser).name}, silent and offline")
    return 1 if problems else 0


def check_page(browser: str, page: Path, picture: Path, size: tuple[int, int]) -> list[str]:
    """Render a page into ``picture``; return what is wrong. A picture named dark asks for the dark scheme."""
    net_log, profile = picture.with_suffix(".netlog.json"), picture.with_suffix(".profile")
    command = [browser, *_FLAGS, f"--user-data-dir={profile}", f"--log-net-log={net_log}"]
    command += [f"--screenshot={picture}", f"--window-size={size[0]},{size[1]}"]
    command += ["--force-dark-mode"] if "dark" in picture.stem else []
    try:
        done = subprocess.run(
            [*command, page.absolute().as_uri()], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return [f"the browser did not end within {_TIMEOUT_S} s"]
    if done.returncode:
        return [f"the browser ended with code {done.returncode}: {done.stderr.strip()[-300:]}"]
    problems = find_console_messages(done.stderr)
    if not picture.is_file() or picture.stat().st_size < _MIN_PICTURE_BYTES:
        problems.append("the browser drew no picture of the page")
    if not net_log.is_file():
        return [*problems, "the browser wrote no log of its requests"]
    return problems + find_requests(net_log.read_text(encoding="utf-8"))


def find_console_messages(stderr: str) -> list[str]:
    """The messages that the page left on the console, which the browser's log marks."""
    return [f"on the console: {line.strip()}" for line in stderr.splitlines() if "CONSOLE" in line]


def find_requests(net_log: str) -> list[str]:
    """The addresses in the network of which the browser's log of requests has a start. A cut log is completed."""
    try:
        events = json.loads(net_log)["events"]
    except ValueError:  # a browser that was closed early leaves the list open
        events = json.loads(net_log.rstrip().rstrip(",") + "]}")["events"]
    urls = {event.get("params", {}).get("url", "") for event in events}
    return [f"a request left: {url}" for url in sorted(urls) if re.match(r"(https?|wss?|ftp):", url)]


if __name__ == "__main__":
    sys.exit(main())
