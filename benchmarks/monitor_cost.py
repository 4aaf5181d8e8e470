"""What `bnlens.integrations.GapMonitor` adds to a training loop at its defaults, on the ResNet-14 of `bnlens.train`.

The same loop runs without the monitor and with one measurement, in turns; the difference, within a repetition, over the time of
a step says how many steps a measurement is worth. The share of an epoch is that of one of CIFAR-10's 391 steps with a
measurement in it; at the default there is one in every 500 steps. The script fails if the weights do not end the same, bit for
bit, with the monitor and without.

Run: python benchmarks/monitor_cost.py
"""

from __future__ import annotations

import statistics
import sys

import torch
import torch.nn.functional as F
from rich.console import Console
from shared import cifar_net, noise, parser, reach, save, spread, table, take_turns
from torch import nn

from bnlens.integrations import GapMonitor

BATCH_SIZE = 128
STEPS = 20  # without the measurement
EPOCH = 391  # steps over the 50,000 images of CIFAR-10
TARGET = 0.02


def train(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, monitor: GapMonitor | None) -> None:
    """Take the steps; a monitor measures once."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    net.train()
    for step in range(1, STEPS + 1):
        rows = torch.arange(step * BATCH_SIZE, (step + 1) * BATCH_SIZE) % len(images)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
        if monitor is not None:
            monitor(net, monitor.every_n_steps + step - STEPS // 2)


def main() -> None:
    options = parser(__file__, __doc__, repeats=11, threads=2).parse_args()
    torch.set_num_threads(options.threads)
    images, labels = noise(1280)
    held = [(images[:BATCH_SIZE], labels[:BATCH_SIZE])]
    monitor = GapMonitor(held, F.cross_entropy)
    nets = {"loop": cifar_net("resnet14"), "monitored": cifar_net("resnet14")}
    times = take_turns(
        {
            "loop": lambda: train(nets["loop"], images, labels, None),
            "monitored": lambda: train(nets["monitored"], images, labels, monitor),
        },
        options.repeats,
    )
    for one, two in zip(nets["loop"].state_dict().values(), nets["monitored"].state_dict().values(), strict=True):
        if not torch.equal(one, two):
            sys.exit("the weights end at other values with the monitor")
    rows = {}
    for clock in ("elapsed", "processor"):
        plain, watched = getattr(times["loop"], clock), getattr(times["monitored"], clock)
        steps = [(b - a) / (a / STEPS) for a, b in zip(plain, watched, strict=True)]
        rows[clock] = {
            "seconds_of_a_step": statistics.median(plain) / STEPS,
            "steps_of_a_measurement": spread(steps),
            "ratio_of_an_epoch_with_one": spread([1 + value / EPOCH for value in steps]),
            "ratio_at_default": spread([1 + value / monitor.every_n_steps for value in steps]),
        }
    result = {
        "config": {
            "net": "resnet14",
            "batch_size": BATCH_SIZE,
            "steps": STEPS,
            "epoch_steps": EPOCH,
            "samples": monitor.samples,
            "statistics_batch_size": monitor.statistics_batch_size,
            "every_n_steps": monitor.every_n_steps,
            "repeats": options.repeats,
        },
        "target": {"share of an epoch": TARGET},
        "times": rows,
    }
    shown = table("clock", "steps a measurement", "range", "/ loop, an epoch with one", "range", "/ loop, at default")
    for clock, row in rows.items():
        steps, epoch = row["steps_of_a_measurement"], row["ratio_of_an_epoch_with_one"]
        default = f"{row['ratio_at_default']['median']:.4f}"
        shown.add_row(
            clock, f"{steps['median']:.1f}", reach(steps, ".1f"), f"{epoch['median']:.4f}", reach(epoch, ".4f"), default
        )
    Console(width=110).print(shown)
    print(f"target: at most {TARGET:.0%} of an epoch")
    save(options.out, result)


if __name__ == "__main__":
    main()
