"""A server in a process of its own, and pages of the system's Chromium. `make test-browser` sets up what these tests need."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page, expect, sync_playwright

HERE = Path(__file__).parent
_PATIENCE = 300_000  # milliseconds, far more than a busy machine needs
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Server:
    """``bnlens serve`` on a folder; ``url`` ends in a slash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self, port: int = 0) -> None:
        options = ["serve", "--no-open", "--port", str(port), "--folder", str(self.folder)]
        self.process = subprocess.Popen([sys.executable, "-m", "bnlens", *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("bnlens is at http://127.0.0.1:"), line
        self.url = line.split()[3]
        urlopen(self.url).close()  # noqa: S310 - takes as long as the machine needs; no browser waits for it

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Reader:
    """A page, and everything about it that a reader would call broken."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("requestfailed", self._failed)
        page.on(
            "response", lambda answer: answer.status >= 400 and self.problems.append(f"{answer.status} {answer.url}")
        )

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.problems.append(f"{kind}: {text}")

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # a page that was left
            self.problems.append(f"failed: {request.url} {request.failure}")

    def open(self, address: str) -> Page:
        self.page.goto(address)
        self.page.wait_for_load_state("networkidle")
        return self.page


def chromium() -> str:
    """Path of the system's Chromium."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.exit("there is no Chromium on this machine; install it, on Debian with: apt-get install chromium", 2)
    return found


@pytest.fixture(scope="session")
def serious() -> Callable[[Page], list[Any]]:
    """Returns what axe-core finds in a page and calls serious."""
    script = HERE / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        pytest.exit("axe-core is not installed; run: npm install --prefix tests/browser", 2)
    axe = script.read_text(encoding="utf-8")

    def found(page: Page) -> list[Any]:
        page.evaluate(axe)
        violations = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [
            (found["id"], [node["target"] for node in found["nodes"]][:3], found["nodes"][0]["failureSummary"])
            for found in violations
            if found["impact"] in ("serious", "critical")
        ]

    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"], timeout=_PATIENCE)
        expect.set_options(timeout=_PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of two quick claims and a saved report."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "results"
    with FileLock(f"{shared}.lock"):  # the first of the processes computes them for all
        if not shared.is_dir():
            shared.mkdir()
            report = ["report", "mlp", "--data", "digits", "--rounds", "1", "--save", str(shared / "mlp.json")]
            both = (["reproduce", "G1", "L4", "--out", str(shared)], report)
            started = [
                subprocess.Popen([sys.executable, "-m", "bnlens", *each], stdout=subprocess.DEVNULL) for each in both
            ]
            assert [process.wait() for process in started] == [0, 0]
    return shutil.copytree(shared, tmp_path_factory.mktemp("page") / "out")


@pytest.fixture(scope="session")
def server(results: Path) -> Iterator[Server]:
    started = Server(results)
    yield started
    started.stop()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Server]:
    """A server whose folder does not exist yet."""
    started = Server(tmp_path / "out")
    yield started
    started.stop()


@pytest.fixture
def reader(browser: Browser) -> Iterator[Reader]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(_PATIENCE)
    yield Reader(context.new_page())
    context.close()
