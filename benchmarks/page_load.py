"""Whether the page stays quick: readers who turn knobs, and two simulations beside them.

A real `bnlens serve` answers readers of another process on the same cores. Each reader asks for a lab page with knobs of its
own, waits a second, and asks again. First closed forms alone, then the same while two simulations run without a pause. No
answer may be an error. Memory is that of the server with its workers.
"""

from __future__ import annotations

import asyncio
import itertools
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

TARGET = 0.150
EXPENSIVE = ("/api/labs/dynamics?simulate=yes&seed={}", "/api/labs/gap?unit=relu&simulate=yes&seed={}")


def knobs(draw: random.Random) -> str:
    """A closed-form lab with knobs that hardly two readers share."""
    eta, gamma = round(draw.uniform(0.1, 2), 2), round(draw.uniform(0.2, 2), 2)
    lab, state = draw.choice(
        [
            ("gap", {"gamma": gamma, "batch_size": draw.choice([8, 16, 32, 64])}),
            ("dynamics", {"learning_rate": eta, "batch_size": draw.choice([8, 16, 32])}),
            ("rates", {"label_noise": round(draw.uniform(0, 1), 2)}),
            ("generalization", {"alpha": round(draw.uniform(0.5, 4), 2)}),
        ]
    )
    return f"/labs/{lab}?{urlencode(state)}"


async def reader(client: httpx.AsyncClient, seed: int, end: float, times: list[float], errors: list[str]) -> None:
    """Ask, wait a second, ask again."""
    draw = random.Random(seed)  # noqa: S311 - nothing secret is drawn
    await asyncio.sleep(draw.random())
    while time.monotonic() < end:
        address = knobs(draw)
        start = time.perf_counter()
        try:
            status = (await client.get(address)).status_code
        except httpx.HTTPError as error:
            errors.append(f"{address}: {error!r}")
        else:
            times.append(time.perf_counter() - start)
            if status != 200:
                errors.append(f"{address}: {status}")
        await asyncio.sleep(draw.uniform(0.8, 1.2))


async def simulations(client: httpx.AsyncClient, form: str, seeds: itertools.count[int], end: float) -> int:
    """Ask for one simulation after the other; return how many were answered."""
    done = 0
    while time.monotonic() < end:
        answer = await client.get(form.format(next(seeds)))
        done += answer.status_code == 200
        if answer.status_code == 422:
            raise SystemExit(answer.text)
    return done


async def phase(url: str, readers: int, seconds: float, expensive: bool, first_seed: int) -> dict[str, Any]:
    """Let the readers read, with or without simulations beside them."""
    times: list[float] = []
    errors: list[str] = []
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=readers + 8)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        work = [reader(client, first_seed + number, end, times, errors) for number in range(readers)]
        seeds = itertools.count(first_seed)
        beside = [simulations(client, form, seeds, end) for form in EXPENSIVE] if expensive else []
        found = await asyncio.gather(*work, *beside)
    ordered = sorted(times)
    quantile = {f"p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 95, 99)}
    return {
        "requests": len(times),
        "errors": errors,
        **quantile,
        "max": ordered[-1],
        "simulations": sum(count for count in found if count is not None),
    }


def resident(process: int) -> float:
    """MiB that a process and its descendants hold, in proportional shares."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    shares = Path(f"/proc/{process}/smaps_rollup").read_text().split("Pss:")[1].split()[0]
    return int(shares) / 1024 + sum(resident(int(child)) for child in children)


def run(readers: int, seconds: float) -> dict[str, Any]:
    """Serve an empty folder and measure both phases."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bnlens", "serve", "--no-open", "--port", "0", "--folder", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[3].rstrip("/")
            asyncio.run(phase(url, readers, 5, expensive=False, first_seed=10_000))  # everything is loaded once
            memory = [resident(server.pid)]
            phases = {}
            for name, expensive, seed in (("closed forms", False, 0), ("beside two simulations", True, 1000)):
                load = os.getloadavg()[0]
                phases[name] = {**asyncio.run(phase(url, readers, seconds, expensive, seed)), "load_1min_before": load}
                memory.append(resident(server.pid))
        finally:
            server.terminate()
            server.wait(30)
    return {
        "phases": phases,
        "memory_mib": dict(zip(("warm", "after closed forms", "after simulations"), memory, strict=True)),
    }


def main() -> None:
    """Measure, print and write."""
    options = parser(__file__, __doc__)
    options.add_argument("--readers", type=int, default=50)
    options.add_argument("--seconds", type=float, default=60)
    arguments = options.parse_args()
    facts = machine_facts()
    found = run(arguments.readers, arguments.seconds)
    content = {
        "benchmark": "page_load",
        "machine": facts,
        "config": {"readers": arguments.readers, "seconds": arguments.seconds, "think_seconds": [0.8, 1.2]},
        "unit": "seconds from request to last byte; MiB",
        "p95_target": TARGET,
        **found,
    }
    print(json.dumps(found, indent=2))
    save(arguments.out, content)
    if any(phase["errors"] for phase in found["phases"].values()):
        raise SystemExit("some requests failed")


if __name__ == "__main__":
    main()
