"""Whether the page stays quick: readers who turn knobs of the labs and look at the front page, about once a second each.

A real `bnlens serve` answers readers of another process on the same cores. With ``--src DIR``, the folder ``src`` of another
version, both versions are asked in turns by the same readers. No answer may be an error.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from shared import machine_facts, parser, save


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


def run(src: Path, readers: int, seconds: float, seed: int) -> dict[str, Any]:
    """Serve an empty folder with a version and measure it."""
    environment = {**os.environ, "PYTHONPATH": str(src)}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bnlens", "serve", "--no-open", "--port", "0", "--folder", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603 - our own
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[3]
            asyncio.run(read(url, readers, 5, 10_000))  # everything is loaded once
            return asyncio.run(read(url, readers, seconds, seed))
        finally:
            server.terminate()
            server.wait(30)


def main() -> None:
    """Measure, print and write."""
    options = parser(__file__, __doc__)
    options.add_argument("--readers", type=int, default=20)
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--src", type=Path, help="folder src of another version, to compare with")
    arguments = options.parse_args()
    versions = {"this": Path(__file__).parents[1] / "src"}
    versions |= {"other": arguments.src} if arguments.src else {}
    facts = machine_facts()
    found = {name: run(src, arguments.readers, arguments.seconds, 0) for name, src in versions.items()}
    config = {"readers": arguments.readers, "seconds": arguments.seconds, "think_seconds": [0.8, 1.2]}
    unit = "seconds from request to last byte"
    print(json.dumps(found, indent=2))
    save(arguments.out, {"benchmark": "page_load", "machine": facts, "config": config, "unit": unit, "versions": found})
    if any(version["errors"] for version in found.values()):
        raise SystemExit("some requests failed")


if __name__ == "__main__":
    main()
