"""All that bnlens does, on a GPU: tests, what a layer costs, a report on a ResNet-50, training for claim E1. One JSON file.

Each part has a share of the time, and what one leaves goes to those after it. A part that fails says why in the result, the
others run all the same, and the exit code is 1. Nothing is downloaded. Without a device, ``--device cpu --small`` runs the same
code at sizes that say nothing about speed.

Run: make gpu, or make gpu PYTHON=python3 DATA=folder-of-CIFAR-10
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gpu_metadata

gpu_metadata.provide()  # before anything imports bnlens

import gpu_layers  # noqa: E402
import gpu_report  # noqa: E402
import gpu_tests  # noqa: E402
import gpu_training  # noqa: E402
import torch  # noqa: E402
from gpu_common import Clock, failure  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from shared import parser, save  # noqa: E402

SECONDS = 480


class Part(NamedTuple):
    """One part of the benchmark, and its share of the time."""

    share: float
    run: Callable[..., dict[str, Any]]
    show: Callable[[dict[str, Any]], Table]


PARTS: Mapping[str, Part] = {
    "layers": Part(0.25, gpu_layers.run, gpu_layers.show),
    "report": Part(0.2, gpu_report.run, gpu_report.show),
    "tests": Part(0.25, gpu_tests.run, gpu_tests.show),
    "training": Part(0.3, gpu_training.run, gpu_training.show),
}


def device_facts(device: str) -> dict[str, Any]:
    """Name, capability and memory of the device, and the versions that its speed depends on."""
    if not device.startswith("cuda"):
        return {"name": device}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_mib": properties.total_memory / 2**20,
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def run_parts(names: list[str], device: str, seconds: float, *, small: bool, data: Path | None) -> dict[str, Any]:
    """The result of each part, with the seconds it took, or ``error``."""
    clock, found = Clock(seconds), {}
    for i, name in enumerate(names):
        part, before = PARTS[name], clock.left()
        share = part.share / sum(PARTS[later].share for later in names[i:])
        options = {"data": data} if name == "training" else {}
        print(f"{name}: up to {share * before:.0f} s", file=sys.stderr, flush=True)
        result: dict[str, Any] = {}
        errors = list(
            failure(lambda: result.update(part.run(device, clock.part(share * before), small=small, **options)))  # noqa: B023
        )
        if errors:
            result["errors"] = errors
        found[name] = {**result, "seconds": before - clock.left()}
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    return found


def troubles(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What went wrong, a line each."""
    found = [f"{name}: {error}" for name, result in parts.items() for error in result.get("errors", ())]
    return found + [f"failed: {test}" for test in parts.get("tests", {}).get("failed", ())]


def main() -> None:
    arguments = parser(__file__, __doc__)
    arguments.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu (default %(default)s)")
    arguments.add_argument(
        "--seconds", type=float, default=SECONDS, help="for all parts together (default %(default)s)"
    )
    arguments.add_argument("--data", type=Path, help="folder of CIFAR-10, else the training is on noise")
    arguments.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="(default: all)")
    arguments.add_argument("--small", action="store_true", help="sizes that a CPU can do, to try the script")
    options = arguments.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} finds no CUDA device; --device cpu --small tries the script without")
    if options.device.startswith("cuda"):
        torch.cuda.set_device(options.device)
    parts = run_parts(options.parts, options.device, options.seconds, small=options.small, data=options.data)
    result = {
        "device": device_facts(options.device),
        "config": {"seconds": options.seconds, "small": options.small},
        **parts,
    }
    console = Console(width=140)
    for name, found in parts.items():
        if len(found) > 2:  # more than errors and seconds
            console.print(PARTS[name].show(found))
        for left in found.get("left_out", ()):
            console.print(f"{name}: no time left for {left}")
    save(options.out, result)
    if wrong := troubles(parts):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
