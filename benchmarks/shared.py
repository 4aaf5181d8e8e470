"""Shared by the benchmark scripts: their options, the timing of variants in turns, the machine, tables and result files."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from rich.table import Table
from torch import Tensor, nn

from bnlens._files import write_atomic

Result = TypeVar("Result")


class Seconds(NamedTuple):
    """Elapsed and processor seconds, summed over threads."""

    elapsed: float
    processor: float


class Times(NamedTuple):
    """Elapsed and processor seconds of one variant, one number per repetition."""

    elapsed: list[float]
    processor: list[float]


def parser(
    script: str, description: str | None, *, repeats: int | None = None, threads: int | None = None
) -> argparse.ArgumentParser:
    """The options that the scripts share: where to write, and where they have defaults, repetitions and threads."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default, text in (
        ("repeats", repeats, "repetitions of each variant"),
        ("threads", threads, "threads of torch"),
    ):
        if default is not None:
            made.add_argument(f"--{option}", type=int, default=default, help=f"{text} (default %(default)s)")
    out = Path(script).parent / "results" / f"{Path(script).stem}.json"
    made.add_argument("--out", type=Path, default=out, help="JSON file to write (default %(default)s)")
    return made


def cifar_net(name: str, seed: int = 0) -> nn.Module:
    """A net of `bnlens.train` for images in the shape of CIFAR-10."""
    from bnlens.train import build_net

    return build_net(name, input_shape=(3, 32, 32), num_classes=10, seed=seed)


def noise(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images of noise in the shape of CIFAR-10, and labels; what images show does not change a cost."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 32, 32, generator=generator), torch.randint(10, (count,), generator=generator)


def timed(function: Callable[[], Result]) -> tuple[Result, Seconds]:
    """What a function returns, and the time it takes."""
    start, processor_start = time.perf_counter(), time.process_time()
    result = function()
    return result, Seconds(time.perf_counter() - start, time.process_time() - processor_start)


def take_turns(
    variants: Mapping[str, Callable[[], object]], repeats: int, *, title: str = "", warm_up: bool = True
) -> dict[str, Times]:
    """Time the variants, which take turns within a repetition; one that warms up comes first and does not count."""
    times = {name: Times([], []) for name in variants}
    for repetition in range(-1 if warm_up else 0, repeats):
        print(f"{title}repetition {repetition + 1} of {repeats}", file=sys.stderr, end="\r", flush=True)
        for name, run in variants.items():
            _, seconds = timed(run)
            if repetition >= 0:
                for kept, value in zip(times[name], seconds, strict=True):
                    kept.append(value)
    return times


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(values: list[float], plain: list[float]) -> list[float]:
    """Value over plain, repetition by repetition."""
    return [value / base for value, base in zip(values, plain, strict=True)]


def reach(row: Mapping[str, float], form: str = ".2f") -> str:
    """Smallest to largest of a `spread`, as text."""
    return f"{row['min']:{form}} - {row['max']:{form}}"


def table(*columns: str, left: int = 1, **options: Any) -> Table:
    """A table to print, whose first columns hold text and the others numbers."""
    made = Table(**options)
    for place, column in enumerate(columns):
        made.add_column(column, justify="left" if place < left else "right")
    return made


def peak_mib() -> float:
    """Largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def of_fresh_process(script: str, *arguments: str, **options: Any) -> Any:
    """The JSON that a script prints in a process of its own; options are those of `subprocess.run`."""
    command = [sys.executable, script, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout)  # noqa: S603


def save(out: Path, result: Mapping[str, Any]) -> None:
    """Write a result file, which begins with the script's name and the machine."""
    whole = {"benchmark": Path(sys.argv[0]).stem, "machine": machine_facts(), **result}
    write_atomic(out, json.dumps(whole, indent=2) + "\n")
    print(f"written to {out}")


def machine_facts() -> dict[str, object]:
    """Processor, cores, its vectors that torch uses, threads, load of the last minute, system and versions, as JSON data."""
    try:
        bnlens = version("bnlens")
    except PackageNotFoundError:
        bnlens = None
    info = Path("/proc/cpuinfo")  # where platform.processor() leaves the name empty
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "torch_threads": torch.get_num_threads(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bnlens": bnlens,
    }
