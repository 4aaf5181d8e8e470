"""Take the screenshots of the page that are in docs/serve.md, or of every page in both themes and on a phone.

Run: python docs/page_screenshots.py --folder bnlens-out [--all DIR]   (needs the extras [web] and [browser], and Chromium)
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import Browser, sync_playwright

from bnlens.web import create_app
from bnlens.web.site import Site

IMAGES = Path(__file__).parent / "images"
_DOCUMENT = {"page_article": "/", "page_findings": "/findings", "page_lab": "/labs/dynamics?simulate=yes"}
_VIEWS = {"light": ("light", 1280), "dark": ("dark", 1280), "phone": ("light", 390), "phone-dark": ("dark", 390)}


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Site]]:
    """Yield the address of a server on the folder, and its site."""
    app = create_app(folder)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", app.state.site
    server.should_exit = True
    thread.join()


def shoot(browser: Browser, address: str, file: Path, *, theme: str, width: int, whole: bool) -> None:
    """Write a screenshot of one page, of the first screen or of the whole page."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # draws the figures further down
    page.wait_for_timeout(500)
    file.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file, full_page=whole)
    page.close()


def main() -> None:
    """Read the arguments and take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("bnlens-out"), help="results and reports to show")
    parser.add_argument("--all", type=Path, help="take every page, into this folder")
    arguments = parser.parse_args()
    with serving(arguments.folder) as (url, site), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        if arguments.all is None:
            for name, path in _DOCUMENT.items():
                shoot(browser, url + path, IMAGES / f"{name}.png", theme="light", width=1280, whole=False)
        else:
            for address in dict.fromkeys(address for page in site.pages for address in (page.path, *page.export(site))):
                if address.startswith("/api/"):
                    continue
                name = address.strip("/").replace("/", "_").replace("?", "_") or "home"
                for view, (theme, width) in _VIEWS.items():
                    file = arguments.all / view / f"{name[:80]}.png"
                    shoot(browser, url + address, file, theme=theme, width=width, whole=True)
        browser.close()


if __name__ == "__main__":
    main()
