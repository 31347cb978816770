"""Photograph the built site in a headless browser, and use its search, as a reader sees it.

python docs/photograph_site.py [--site build/site] [--output build/looks] [PAGE ...]

Needs Chromium or Chrome, and ``websockets``. Each page is taken at two widths, light and dark.
It fails if a page is wider than its window, asks for a file of another host or one that isn't
there, or if what is searched for isn't found.
"""

from __future__ import annotations

import argparse
import base64
import http.server
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import requests
from websockets.sync.client import ClientConnection, connect

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0",
)  # fmt: skip
WIDTHS = (1280, 400)
SCHEMES = ("light", "dark")
MOST = 6000  # pixels of a page's height that are taken
PAGES = ("index.html", "stacks.html", "keys.html", "api/index.html", "api/segmenters.html")
# What a reader types, and the page that answers it.
SEARCHES = {"load_segmenter": "api/segmenters.html", "proofreading": "keys.html"}


class Page:
    """A page of a browser, driven over its debugging protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.requested: list[str] = []
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method and return its result; what the page tells meanwhile is noted."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def show(self, address: str, width: int, scheme: str) -> None:
        """Open a page, so wide and in a scheme of colours, and wait until it has loaded."""
        self._size(width, 900)
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", features=media)
        self.ask("Page.navigate", url=address)
        self.until(f"document.readyState == 'complete' && location.href == {address!r}")
        time.sleep(0.3)  # what scripts draw

    def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + 20
        while not self.value(expression):
            if time.monotonic() > end:
                raise RuntimeError(f"not true within 20 s: {expression}")
            time.sleep(0.05)

    def picture(self, width: int) -> bytes:
        """Return all of the page, as PNG."""
        self._size(width, min(int(self.value("document.documentElement.scrollHeight")), MOST))
        # Pictures further down are loaded when they come near the window.
        self.until("[...document.images].every(one => one.complete)")
        taken = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(taken["data"])

    def _size(self, width: int, height: int) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def _note(self, told: dict[str, Any]) -> None:
        what = told.get("params", {})
        if told.get("method") == "Network.requestWillBeSent":
            self.requested.append(what["request"]["url"])
        elif told.get("method") == "Network.responseReceived":
            if what["response"]["status"] >= 400:
                self.problems.append(f"{what['response']['url']}: {what['response']['status']}")
        elif told.get("method") == "Runtime.exceptionThrown":
            self.problems.append(what["exceptionDetails"]["text"])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve a folder's files to this machine alone; yield the address."""
    handler = partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def browser() -> Iterator[Page]:
    """Start a browser of its own and yield its page."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit(f"expected a browser, one of {', '.join(BROWSERS)}; found none")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running = subprocess.Popen([program, *FLAGS, f"--user-data-dir={folder}"], **quiet)
        try:
            told, end = Path(folder) / "DevToolsActivePort", time.monotonic() + 30
            while not (told.exists() and "\n" in told.read_text()):
                if time.monotonic() > end:
                    raise RuntimeError("the browser didn't start within 30 s")
                time.sleep(0.1)
            port = told.read_text().splitlines()[0]
            tabs = requests.get(f"http://127.0.0.1:{port}/json", timeout=30).json()
            pages = [tab for tab in tabs if tab["type"] == "page"]
            with connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Page(socket)
        finally:
            running.terminate()
            running.wait(30)


def photograph(page: Page, home: str, name: str, output: Path) -> Iterator[str]:
    """Take a page at each width and in each scheme; yield what is wrong with it."""
    for width, scheme in itertools.product(WIDTHS, SCHEMES):
        page.show(home + name, width, scheme)
        wide = page.value("document.documentElement.scrollWidth")
        if wide > width:
            yield f"{name} is {wide} pixels wide in a window of {width}"
        stem = name.removesuffix(".html").replace("/", "-")
        (output / f"{stem}-{width}-{scheme}.png").write_bytes(page.picture(width))


def search(page: Page, home: str, text: str, expected: str) -> Iterator[str]:
    """Search as a reader does; yield a line if the expected page isn't among the answers."""
    page.show(f"{home}search.html?q={text}", WIDTHS[0], SCHEMES[0])
    links = "[...document.querySelectorAll('#search-results li a')].map(one => one.href)"
    page.until("/\\d+ (page|result)|did not match/.test(document.body.innerText)")
    found = page.value(links)
    print(f"{text}: {len(found)} answers")
    if not any(address.partition("#")[0].partition("?")[0] == home + expected for address in found):
        yield f"searching for {text} doesn't find {expected}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="such as index.html")
    parser.add_argument("--site", type=Path, default=Path("build/site"))
    parser.add_argument("--output", type=Path, default=Path("build/looks"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    problems = []
    with served(options.site) as home, browser() as page:
        for name in options.pages or PAGES:
            problems += photograph(page, home, name, options.output)
        if not options.pages:
            for text, expected in SEARCHES.items():
                problems += search(page, home, text, expected)
        problems += page.problems
        others = {one for one in page.requested if one.startswith("http")}
        problems += [f"{one} is asked for" for one in others if not one.startswith(home)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"pictures in {options.output}, {len(problems)} problems")
    return min(len(problems), 1)


if __name__ == "__main__":
    sys.exit(main())
