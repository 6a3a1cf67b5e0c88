"""Open the page of ``golf report`` in headless Chromium: ``make report-check``; NOT-RUN on a machine without one.

The page must render on a desktop and on a phone, in light and dark, without a message on the console, without a request
that leaves, and no wider than the window. The browser is led through its DevTools protocol on a pipe, which reports all
of that. ``--screenshots FOLDER`` keeps two pictures of the page's top: the desktop in light, the phone in dark.
"""

import argparse
import base64
import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WINDOWS = {"desktop": (1280, 1500), "phone": (390, 1300)}  # width and height in CSS pixels
KEPT_PICTURES = {("desktop", "light"): "report_desktop.png", ("phone", "dark"): "report_phone.png"}
INSTALL_HINT = "install one, such as: apt-get install chromium"
_TIMEOUT_S = 60  # for each answer
_PALETTE_COLORS = 64
_MIN_PICTURE_BYTES = 5_000  # a page that renders nothing compresses to less
_FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
_LAUNCHER = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])"""  # the browser reads commands from 3 and writes to 4
_FIND_OVERFLOW = """(() => {
  const limit = document.documentElement.clientWidth;
  const isWide = e => e.getBoundingClientRect().right > limit + 1 && !e.parentElement.closest(".scroll, svg");
  const wide = [...document.querySelectorAll("body *")].filter(isWide).map(e => e.outerHTML.slice(0, 60));
  return {limit, width: document.documentElement.scrollWidth, wide: wide.slice(0, 3)};
})()"""


class BrowserError(Exception):
    """The browser ended, did not answer, or refused a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Check a page. Returns 0 if it is fine or no browser is there, which the one line printed says, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.report_check", description=__doc__)
    parser.add_argument("page", type=Path, help="written by golf report")
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="keep the pictures here")
    args = parser.parse_args(argv)
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"report-check: NOT-RUN, none of {', '.join(BROWSERS)} is on PATH; {INSTALL_HINT}")
        return 0
    problems = []
    try:
        with open_browser(browser) as session:
            for name, size in WINDOWS.items():
                for scheme in ("light", "dark"):
                    found, picture = check_page(session, args.page, size, scheme)
                    problems += [f"{name}, {scheme}: {text}" for text in found]
                    if args.screenshots and (name, scheme) in KEPT_PICTURES:
                        save_picture(picture, args.screenshots / KEPT_PICTURES[name, scheme])
    except BrowserError as error:
        problems.append(str(error))
    print("\n".join(problems) or f"report-check: {args.page} renders in {Path(browser).name}, silent and offline")
    return 1 if problems else 0


@dataclass
class Session:
    """A tab, to which commands are sent and which tells what happens. events: those since the page began to load."""

    process: "subprocess.Popen[bytes]"
    to_browser: int
    from_browser: int
    session_id: str | None = None
    n_sent: int = 0
    received: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its result. Raises BrowserError."""
        self.n_sent += 1
        message = {"id": self.n_sent, "method": method, "params": params}
        message |= {"sessionId": self.session_id} if self.session_id else {}
        try:
            os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise self._ended() from None
        while True:
            answer = self._read()
            if answer.get("id") == self.n_sent:
                if "error" in answer:
                    raise BrowserError(f"the browser refused {method}: {answer['error'].get('message')}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def open_page(self, address: str) -> str:
        """Load a page to its end; return the browser's message if it does not load. Raises BrowserError."""
        self.events.clear()
        answer = self.send("Page.navigate", url=address)
        if "errorText" in answer:
            return str(answer["errorText"])
        end = {"name": "load", "loaderId": answer["loaderId"]}
        while not any(end.items() <= event.get("params", {}).items() for event in self.events):
            self.events.append(self._read())
        return ""

    def _read(self) -> dict[str, Any]:
        """The next message."""
        while b"\0" not in self.received:
            if not select([self.from_browser], [], [], _TIMEOUT_S)[0]:
                raise BrowserError(f"the browser did not answer within {_TIMEOUT_S} s")
            data = os.read(self.from_browser, 1 << 16)
            if not data:
                raise self._ended()
            self.received += data
        message, _, self.received = self.received.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def _ended(self) -> BrowserError:
        _, stderr = self.process.communicate(timeout=_TIMEOUT_S)
        return BrowserError(f"the browser ended with code {self.process.returncode}: {stderr.decode().strip()[-300:]}")


@contextmanager
def open_browser(browser: str) -> Iterator[Session]:
    """Start a browser with a profile of its own and an empty tab; end it afterwards. Raises BrowserError."""
    (from_us, to_browser), (from_browser, to_us) = _make_pipe(), _make_pipe()
    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # as root it does not start with one
    with tempfile.TemporaryDirectory() as profile:
        command = [sys.executable, "-c", _LAUNCHER, str(from_us), str(to_us), browser, *flags]
        command += [f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(
            command, pass_fds=(from_us, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=profile
        )
        os.close(from_us)
        os.close(to_us)
        try:
            session = Session(process, to_browser, from_browser)
            target = session.send("Target.createTarget", url="about:blank")["targetId"]
            attached = session.send("Target.attachToTarget", targetId=target, flatten=True)
            session.session_id = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                session.send(f"{domain}.enable")
            session.send("Page.setLifecycleEventsEnabled", enabled=True)
            yield session
        finally:
            process.kill()
            process.communicate()
            os.close(to_browser)
            os.close(from_browser)


def _make_pipe() -> tuple[int, int]:
    """A pipe's descriptors, larger than those that the protocol takes."""
    ends = os.pipe()
    large = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return large[0], large[1]


def check_page(session: Session, page: Path, size: tuple[int, int], scheme: str) -> tuple[list[str], bytes]:
    """Load a page in a window of ``size`` and a color scheme; return what is wrong, and the picture of its top."""
    width, height = size
    is_phone = width < 600
    session.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone)
    session.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    address = page.absolute().as_uri()
    if error := session.open_page(address):
        return [f"the page does not load: {error}"], b""
    overflow = session.send("Runtime.evaluate", expression=_FIND_OVERFLOW, returnByValue=True)["result"]["value"]
    picture = base64.b64decode(session.send("Page.captureScreenshot", format="png")["data"])
    problems = [*find_console_messages(session.events), *find_requests(session.events, address)]
    if overflow["wide"] or overflow["width"] > overflow["limit"]:
        found = "; ".join(overflow["wide"]) or f"{overflow['width']} pixels"
        problems.append(f"wider than the window of {overflow['limit']} pixels: {found}")
    if len(picture) < _MIN_PICTURE_BYTES:
        problems.append("the browser drew no picture of the page")
    return problems, picture


def save_picture(picture: bytes, path: Path) -> None:
    """Write a PNG with a palette of as many colors as its text needs, which takes a third of the bytes."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(_PALETTE_COLORS).save(path, optimize=True)


def find_console_messages(events: Sequence[dict[str, Any]]) -> list[str]:
    """Return what the page left on the console: messages, errors and refusals of its content policy."""
    texts = []
    for event in events:
        params = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            texts.append(" ".join(str(argument.get("value")) for argument in params["args"]))
        elif event.get("method") == "Runtime.exceptionThrown":
            texts.append(params["exceptionDetails"]["text"])
        elif event.get("method") == "Log.entryAdded":
            texts.append(params["entry"]["text"])
    return [f"on the console: {text}" for text in texts]


def find_requests(events: Sequence[dict[str, Any]], address: str) -> list[str]:
    """Return the requests of a page for anything but itself and data inside it."""
    sent = [event["params"]["request"]["url"] for event in events if event.get("method") == "Network.requestWillBeSent"]
    return [f"a request left: {url[:200]}" for url in sent if url != address and not url.startswith("data:")]


if __name__ == "__main__":
    sys.exit(main())
