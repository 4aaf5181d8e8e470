"""What `bnlens.report` costs as networks get deeper, in forward passes over the same images.

Preactivation nets of 7, 13, 19, 55 and 109 BN layers, trained for 40 steps over 16 digits, each in a process of its own on one
thread, and a report to a precision of 5% at M = 16 and 64. Its cost is counted: images that went through the net over those
of one pass, and those of forward passes that a backward pass followed, which count 2.6 times. No load on the machine
changes that. Processor time over that of a plain forward pass over the same images in the same process stands beside it. With
``--before DIR``, a checkout of an earlier version, its report runs beside it, for ten minutes at most; ``--fixed`` leaves
the precision out of its arguments, for versions that had none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from shared import of_fresh_process, parser, peak_mib, save, table
from torch import Tensor, nn

BLOCKS = (1, 2, 3, 9, 18)  # per stage of three: 6 n + 1 BN layers
SIZES, PRECISION = (16, 64), 0.05
IMAGES, BATCH, STEPS, TRAINED_AT = 768, 128, 40, 16
LONGEST = 600  # seconds that the earlier version gets
BACKWARD = 2.6  # forward passes that one forward and backward takes


class Block(nn.Module):
    """BN, ReLU and convolution, twice, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.project = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        h = F.relu(self.bn1(x))
        shortcut = x if self.project is None else self.project(h)
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(h))))


def preactivation_net(blocks: int, width: int = 16) -> nn.Module:
    """Three stages of ``blocks`` blocks each."""
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3, 1, 1, bias=False)]
    inputs = width
    for stage in range(3):
        for block in range(blocks):
            layers.append(Block(inputs, width << stage, 2 if stage and not block else 1))
            inputs = width << stage
    return nn.Sequential(
        *layers, nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)
    )


def digits() -> tuple[Tensor, Tensor]:
    """The images, 8 x 8, and their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1), torch.tensor(data.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:IMAGES]
    x = x[order]
    return (x - x.mean()) / x.std(), y[order]


def trained(blocks: int, x: Tensor, y: Tensor) -> nn.Module:
    """A net that has begun to learn: its gap is well above zero and its loss is, too."""
    torch.manual_seed(0)
    model = preactivation_net(blocks)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = torch.randint(IMAGES, (TRAINED_AT,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model


def worker(blocks: int, fixed: bool) -> dict[str, Any]:
    """Measure one net in this process; ``fixed``: the report takes no precision."""
    import bnlens

    torch.set_num_threads(1)
    x, y = digits()
    model = trained(blocks, x, y)
    loader = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    forward = min(_forward(model.eval(), loader) for _ in range(5))
    options: dict[str, Any] = {} if fixed else {"precision": PRECISION}
    images = {False: 0, True: 0}

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        images[torch.is_grad_enabled()] += len(inputs[0])

    hook = model.register_forward_pre_hook(count)
    start = time.process_time()
    report = bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=SIZES, progress=False, **options)
    seconds = time.process_time() - start
    hook.remove()
    gaps = report.network.gaps
    row: dict[str, Any] = {"layers": 6 * blocks + 1, "passes": (images[False] + BACKWARD * images[True]) / IMAGES}
    row |= {"passes with a graph": images[True] / IMAGES, "time in passes": seconds / forward, "peak MiB": peak_mib()}
    for size in SIZES:
        gap, predicted = gaps.measured[size], gaps.predicted(size, population=IMAGES)
        assert predicted is not None  # both kinds are of every report
        row |= {f"gap at {size}": gap.value, f"error at {size}": gap.stderr / gap.value}
        row |= {f"prediction's error at {size}": predicted.stderr / predicted.value}
    row |= {"population sweeps": report.population_passes, "shuffles": report.rounds}
    if not fixed:
        row |= {"stopped": report.stopped} | {f"groups at {size}": count for size, count in report.groups.items()}
        for size in SIZES:
            shares = sum(layer.share[size].value for layer in report.layers)
            row |= {f"shares over gap at {size}": shares / gaps.measured[size].value}
    return row


@torch.no_grad()
def _forward(model: nn.Module, loader: list[tuple[Tensor, Tensor]]) -> float:
    start = time.process_time()
    for x, _ in loader:
        model(x)
    return time.process_time() - start


def measured(blocks: int, before: Path | None, fixed: bool = False) -> dict[str, Any] | None:
    """The row of one net, from a process of its own; None if the earlier version is not ready in time."""
    paths = [str(Path(__file__).parent), *([str(before / "src")] if before else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*reversed(paths), os.environ.get("PYTHONPATH", "")])}
    try:
        limit = LONGEST if before else None
        arguments = ("--worker", str(blocks), *(["--fixed"] if fixed else []))
        found: dict[str, Any] = of_fresh_process(__file__, *arguments, env=environment, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    return found


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__file__, __doc__)
    arguments.add_argument("--before", type=Path, help="checkout of an earlier version, to run beside this one")
    arguments.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments.add_argument("--fixed", action="store_true", help="the earlier version takes no precision")
    options = arguments.parse_args()
    if options.worker is not None:
        print(json.dumps(worker(options.worker, options.fixed)))
        return
    console = Console(stderr=True)
    rows, earlier, reached = [], [], options.before is not None
    for blocks in BLOCKS:
        with console.status(f"{6 * blocks + 1} layers"):
            rows.append(measured(blocks, None))
            found = measured(blocks, options.before, options.fixed) if reached else None
            reached = found is not None
            earlier.append(found)
    shown = table(
        "layers", "version", "passes", "time", "shuffles", "error at 16", "at 64", "prediction's", "at 64", left=2
    )
    for pair in zip(rows, earlier, strict=True):
        for version, row in zip(("this", "earlier"), pair, strict=True):
            if row is not None:
                cells = (f"{row['passes']:.0f}", f"{row['time in passes']:.0f}", str(row["shuffles"]))
                errors = (f"{row[f'{of} at {size}']:.1%}" for of in ("error", "prediction's error") for size in SIZES)
                shown.add_row(str(row["layers"]), version, *cells, *errors)
    Console().print(shown)
    config = {"images": IMAGES, "sizes": SIZES, "precision": PRECISION, "training steps": STEPS, "longest": LONGEST}
    save(options.out, {"config": config, "rows": rows, "earlier": earlier})


if __name__ == "__main__":
    main()
