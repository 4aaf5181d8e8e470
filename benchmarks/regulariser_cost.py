"""What a training step costs with the explicit regularisers, against the same step with torch's batch normalization.

Forward, loss and backward of the 4-conv net on 128 images of CIFAR-10's size, interleaved, one number per repetition. Ratios
are of processor time, which a busy machine disturbs less than elapsed time; both are in the JSON.

Run: python benchmarks/regulariser_cost.py
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from machine import machine_facts
from repetitions import spread
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import bnlens
from bnlens._files import write_atomic
from bnlens.nn import CurvaturePenalty, GammaDecay
from bnlens.train import build_net

OUT = Path(__file__).parent / "results" / "regulariser_cost.json"
BATCH_SIZE = 128
M = 16
SEED = 0
Step = Callable[[Tensor, Tensor], None]


def steps() -> dict[str, Step]:
    """The variants, torch's batch normalization first."""
    nets = {name: _net() for name in ("torch BN", "PN", "PN + gamma decay", "PN + curvature penalty")}
    runs: dict[str, Callable[[Tensor], tuple[Tensor, Tensor | float]]] = {}
    for name, net in nets.items():
        if name != "torch BN":
            bnlens.convert(net, statistics_batch_size=math.inf)
        if name.endswith("decay"):
            runs[name] = GammaDecay(net, M)
        elif name.endswith("penalty"):
            runs[name] = CurvaturePenalty(net, M)
        else:
            runs[name] = lambda images, net=net: (net(images), 0.0)  # type: ignore[misc]
    return {name: _step(nets[name], run) for name, run in runs.items()}


def _net() -> nn.Module:
    return build_net("cnn", input_shape=(3, 32, 32), num_classes=10, seed=SEED)


def _step(net: nn.Module, run: Callable[[Tensor], tuple[Tensor, Tensor | float]]) -> Step:
    def step(images: Tensor, labels: Tensor) -> None:
        net.zero_grad()
        logits, penalty = run(images)
        (F.cross_entropy(logits, labels) + penalty).backward()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21, help="repetitions of all variants (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="JSON file to write (default %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    images, labels = torch.randn(BATCH_SIZE, 3, 32, 32), torch.randint(10, (BATCH_SIZE,))
    variants = steps()
    elapsed: dict[str, list[float]] = {name: [] for name in variants}
    processor: dict[str, list[float]] = {name: [] for name in variants}
    for repetition in range(-1, options.repeats):
        print(f"repetition {max(repetition + 1, 0)} of {options.repeats}", file=sys.stderr, end="\r", flush=True)
        for name, step in variants.items():
            start, processor_start = time.perf_counter(), time.process_time()
            step(images, labels)
            if repetition >= 0:  # the one before warms up
                elapsed[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - processor_start)
    rival = next(iter(variants))
    rows = {
        name: {
            "processor_seconds": statistics.median(processor[name]),
            "processor_time_ratio": spread([a / b for a, b in zip(processor[name], processor[rival], strict=True)]),
            "time_ratio": spread([a / b for a, b in zip(elapsed[name], elapsed[rival], strict=True)]),
        }
        for name in variants
    }
    result = {
        "benchmark": "regulariser_cost",
        "machine": machine_facts(),
        "config": {
            "net": "cnn",
            "batch_size": BATCH_SIZE,
            "statistics_batch_size": M,
            "repeats": options.repeats,
            "seed": SEED,
        },
        "variants": rows,
    }
    write_atomic(options.out, json.dumps(result, indent=2) + "\n")
    table = Table("variant", "processor time / torch BN", "range", "elapsed / torch BN")
    for name, row in rows.items():
        ratio = row["processor_time_ratio"]
        table.add_row(
            name,
            f"{ratio['median']:.2f}",
            f"{ratio['min']:.2f} - {ratio['max']:.2f}",
            f"{row['time_ratio']['median']:.2f}",
        )
    Console(width=100).print(table)
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
