"""Whether the page stays quick: readers who turn knobs of the labs and look at the front page, about once a second each.

A real `bnlens serve` answers readers of another process on the same cores. With ``--src DIR``, the folder ``src`` of another
version, both versions are asked in turns by the same readers. No answer may be an error. With ``--browser`` Chromium opens
each kind of page with nothing kept from before: bytes of the page and all that it loads, and the time until something is seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode

import httpx
from shared import machine_facts, parser, save

PAGES = ("", "paper", "findings", "claims", "claims/G1", "derivation/A", "network", "labs", "labs/gap", "discussion")
SEEN = """() => {
  const [page] = performance.getEntriesByType("navigation");
  const parts = [page, ...performance.getEntriesByType("resource")];
  const sum = (name) => parts.reduce((so_far, part) => so_far + part[name], 0);
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  const bytes = { bytes: sum("decodedBodySize"), bytes_sent: sum("encodedBodySize") };
  return { ...bytes, seconds_to_paint: paint.startTime / 1000, seconds_to_load: page.loadEventEnd / 1000 };
}"""


def look(draw: random.Random) -> str:
    """The front page, or a closed-form lab with knobs that hardly two readers share."""
    eta, gamma = round(draw.uniform(0.1, 2), 2), round(draw.uniform(0.2, 2), 2)
    pages: list[tuple[str, dict[str, Any]]] = [
        ("", {}),
        ("labs/gap", {"gamma": gamma, "batch_size": draw.choice([8, 16, 32, 64])}),
        ("labs/dynamics", {"learning_rate": eta, "batch_size": draw.choice([8, 16, 32])}),
        ("labs/rates", {"label_noise": round(draw.uniform(0, 1), 2)}),
        ("labs/generalization", {"alpha": round(draw.uniform(0.5, 4), 2)}),
    ]
    page, state = draw.choice(pages)
    return f"{page}?{urlencode(state)}"


async def reader(client: httpx.AsyncClient, seed: int, end: float, times: list[float], errors: list[str]) -> None:
    """Ask, wait about a second, ask again."""
    draw = random.Random(seed)  # noqa: S311 - nothing secret is drawn
    await asyncio.sleep(draw.random())
    while time.monotonic() < end:
        address = look(draw)
        start = time.perf_counter()
        try:
            status = (await client.get(address)).status_code
        except httpx.HTTPError as error:
            errors.append(f"{address}: {error!r}")
        else:
            times.append(time.perf_counter() - start)
            errors += [] if status == 200 else [f"{address}: {status}"]
        await asyncio.sleep(draw.uniform(0.8, 1.2))


async def read(url: str, readers: int, seconds: float, seed: int) -> dict[str, Any]:
    """Let the readers read."""
    times: list[float] = []
    errors: list[str] = []
    end = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await asyncio.gather(*(reader(client, seed + number, end, times, errors) for number in range(readers)))
    times.sort()
    shares = {f"p{share}": times[min(len(times) - 1, len(times) * share // 100)] for share in (50, 95, 99)}
    return {"requests": len(times), "errors": errors, **shares}


def open_pages(url: str, repeats: int) -> dict[str, dict[str, float]]:
    """Open each kind of page with an empty cache; medians, of the pages that there are."""
    from playwright.sync_api import sync_playwright

    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for address in PAGES:
            seen = []
            for _ in range(repeats + 1):  # the first one waits for what the server computes once
                page = browser.new_page(viewport={"width": 1280, "height": 800}, bypass_csp=True)  # to wait by a script
                answer = page.goto(url + address)
                if answer is not None and answer.ok:
                    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
                    seen.append(page.evaluate(SEEN))
                page.close()
            if seen:
                found[f"/{address}"] = {name: median(one[name] for one in seen[1:]) for name in seen[0]}
        browser.close()
    return found


@contextmanager
def serving(src: Path, folder: str | Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the address of a server of a version, and how long its start and its first answer took."""
    command = [sys.executable, "-m", "bnlens", "serve", "--no-open", "--port", "0", "--folder", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(src)}
    start = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603 - our own
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[3]
        printed = time.perf_counter()
        httpx.get(url, timeout=120).raise_for_status()
        answered = time.perf_counter()
        yield url, {"seconds_to_address": printed - start, "seconds_from_address_to_answer": answered - printed}
    finally:
        server.terminate()
        server.wait(30)


def run(src: Path, readers: int, seconds: float, folder: Path | None, repeats: int) -> dict[str, Any]:
    """Serve a folder with a version and measure it."""
    with tempfile.TemporaryDirectory() as empty, serving(src, folder or empty) as (url, start):
        pages = {"pages": open_pages(url, repeats)} if repeats else {}
        asyncio.run(read(url, readers, 5, 10_000))  # everything is loaded once
        return {"start": start, **asyncio.run(read(url, readers, seconds, 0)), **pages}


def main() -> None:
    """Measure, print and write."""
    options = parser(__file__, __doc__)
    options.add_argument("--readers", type=int, default=20)
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--src", type=Path, help="folder src of another version, to compare with")
    options.add_argument("--folder", type=Path, help="results and reports to serve, by default none")
    options.add_argument("--browser", action="store_true", help="open pages in Chromium, with the extra [browser]")
    arguments = options.parse_args()
    versions = {"this": Path(__file__).parents[1] / "src"}
    versions |= {"other": arguments.src} if arguments.src else {}
    facts, repeats = machine_facts(), 5 if arguments.browser else 0
    found = {
        name: run(src, arguments.readers, arguments.seconds, arguments.folder, repeats)
        for name, src in versions.items()
    }
    config = {
        "readers": arguments.readers,
        "seconds": arguments.seconds,
        "think_seconds": [0.8, 1.2],
        "results_served": arguments.folder is not None,
        "openings_of_each_page": repeats,
    }
    unit = "p50, p95, p99: seconds from request to last byte; bytes_sent: compressed where the server compresses"
    print(json.dumps(found, indent=2))
    save(arguments.out, {"machine": facts, "config": config, "unit": unit, "versions": found})
    if any(version["errors"] for version in found.values()):
        raise SystemExit("some requests failed")


if __name__ == "__main__":
    main()
