"""What a training step costs with the explicit regularisers, against the same step with torch's batch normalization.

Forward, loss and backward of the 4-conv net on 128 images of CIFAR-10's size, interleaved, one number per repetition. Ratios
are of processor time, which a busy machine disturbs less than elapsed time; both are in the JSON.

Run: python benchmarks/regulariser_cost.py
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from rich.console import Console
from shared import cifar_net, noise, parser, ratios, reach, save, spread, table, take_turns
from torch import Tensor, nn

import bnlens
from bnlens.nn import CurvaturePenalty, GammaDecay

BATCH_SIZE = 128
M = 16
SEED = 0
Step = Callable[[Tensor, Tensor], None]


def steps() -> dict[str, Step]:
    """The variants, torch's batch normalization first."""
    nets = {name: cifar_net("cnn", SEED) for name in ("torch BN", "PN", "PN + gamma decay", "PN + curvature penalty")}
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


def _step(net: nn.Module, run: Callable[[Tensor], tuple[Tensor, Tensor | float]]) -> Step:
    def step(images: Tensor, labels: Tensor) -> None:
        net.zero_grad()
        logits, penalty = run(images)
        (F.cross_entropy(logits, labels) + penalty).backward()

    return step


def main() -> None:
    options = parser(__file__, __doc__, repeats=21, threads=1).parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    images, labels = noise(BATCH_SIZE, SEED)
    times = take_turns({name: partial(step, images, labels) for name, step in steps().items()}, options.repeats)
    rival = next(iter(times.values()))  # torch BN
    rows = {
        name: {
            "processor_seconds": statistics.median(of_name.processor),
            "processor_time_ratio": spread(ratios(of_name.processor, rival.processor)),
            "time_ratio": spread(ratios(of_name.elapsed, rival.elapsed)),
        }
        for name, of_name in times.items()
    }
    result = {
        "config": {
            "net": "cnn",
            "batch_size": BATCH_SIZE,
            "statistics_batch_size": M,
            "repeats": options.repeats,
            "seed": SEED,
        },
        "variants": rows,
    }
    shown = table("variant", "processor time / torch BN", "range", "elapsed / torch BN")
    for name, row in rows.items():
        ratio, elapsed = row["processor_time_ratio"], row["time_ratio"]
        shown.add_row(name, f"{ratio['median']:.2f}", reach(ratio), f"{elapsed['median']:.2f}")
    Console(width=100).print(shown)
    save(options.out, result)


if __name__ == "__main__":
    main()
