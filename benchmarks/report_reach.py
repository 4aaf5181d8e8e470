"""What `bnlens.report` takes on networks that people use, and whether its shares add up there.

Each case runs in a process of its own: a network (ResNet-18 in its form for CIFAR, ResNet-50 and RegNet of transformers, a
DenseNet of monai, a U-Net with a loss per pixel), trained for a moment on its own images, then a report at M = 16 and 64 to a
precision of 5%. Elapsed time, peak memory, and the sum of the shares over the gap. The nets of claim D5, trained as there
on 5,000 images, are reported on to 2%, with the gaps of layers alone beside the shares. Two cases read
a stream of images that is never held (``hold=False``), 1,024 and 16,384 of them: their peak memory is to be the same.

The images are CIFAR-10 where ``--data DIR`` names its folder, else noise with a class mean, which says what a report takes
and less about shares.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from foreign_nets import define_torchvision_operators, train, train_as_d5
from foreign_nets import fitted as fitted_by_adam
from rich.console import Console
from shared import cifar_net, of_fresh_process, parser, peak_mib, save, table
from torch import Tensor, nn

import bnlens

SIZES, PRECISION = (16, 64), 0.05
Images = tuple[Tensor, Tensor]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


def resnet18() -> nn.Module:
    """ResNet-18 for images of 32 x 32."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    inputs = 64
    for outputs in (64, 128, 256, 512):
        for stride in (2 if outputs > 64 else 1, 1):
            layers.append(BasicBlock(inputs, outputs, stride))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def resnet50() -> nn.Module:
    """ResNet-50 by its configuration."""
    define_torchvision_operators()
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(ResNetConfig(num_labels=10))


def regnet() -> nn.Module:
    """A small RegNet."""
    define_torchvision_operators()
    from transformers import RegNetConfig, RegNetForImageClassification

    config = RegNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 96], depths=[1, 1, 2, 1], groups_width=8, num_labels=10
    )
    return RegNetForImageClassification(config)


def densenet() -> nn.Module:
    """A small DenseNet."""
    from monai.networks.nets import DenseNet

    return DenseNet(
        spatial_dims=2, in_channels=3, out_channels=10, init_features=16, growth_rate=8, block_config=(3, 3, 3)
    )


class UNet(nn.Module):
    """Two scales, one label per pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.bottom, self.up = self._pair(3, 16), self._pair(16, 32), self._pair(48, 16)
        self.head = nn.Conv2d(16, 1, 1)

    @staticmethod
    def _pair(inputs: int, outputs: int) -> nn.Sequential:
        first = (nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU())
        return nn.Sequential(*first, nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the net."""
        fine = self.down(x)
        coarse = self.bottom(F.max_pool2d(fine, 2))
        return self.head(self.up(torch.cat([fine, F.interpolate(coarse, scale_factor=2.0)], 1))).squeeze(1)


# model, images, pixels, training steps, images a step, learning rate
CASES: dict[str, tuple[Callable[[], nn.Module], int, int, int, int, float]] = {
    "d5 cnn": (lambda: cifar_net("cnn"), 5000, 32, 240, 256, 0.3),
    "d5 resnet": (lambda: cifar_net("resnet"), 5000, 32, 240, 256, 0.3),
    "regnet": (regnet, 1024, 32, 150, 32, 0.05),
    "densenet": (densenet, 1024, 32, 150, 32, 0.05),
    "unet": (UNet, 512, 32, 100, 32, 0.05),
    "resnet18": (resnet18, 1024, 32, 200, 64, 0.05),
    "resnet50": (
        resnet50,
        512,
        112,
        100,
        64,
        0.0003,
    ),  # by AdamW; SGD takes much longer to a net whose gap is no chance
}
STREAMS = {"stream of 1,024": 1024, "stream of 16,384": 16384}


def images(count: int, pixels: int, folder: str | None) -> Images:
    """Images and labels, (count, 3, pixels, pixels)."""
    if folder is not None:
        from bnlens.train import load_data

        data = load_data(folder, samples=count)
        x, y = data.images, data.labels
        return (x if pixels == x.shape[-1] else F.interpolate(x, (pixels, pixels), mode="bilinear")), y
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(10, (count,), generator=generator)
    means = F.interpolate(torch.randn(10, 3, 4, 4, generator=generator), (pixels, pixels), mode="bilinear")
    return torch.randn(count, 3, pixels, pixels, generator=generator) + means[y], y


def fitted(model: nn.Module, x: Tensor, y: Tensor, loss: Any, steps: int, batch: int, lr: float) -> nn.Module:
    """Train for a moment, so that the gap is not near zero."""
    if len(x) == CASES["d5 cnn"][1]:  # as the claim trains
        train_as_d5(model, x, y, steps=steps, batch=batch, lr=lr)
        return model
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    train(model, x, y, loss, torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps), batch)
    return model


class Stream:
    """A loader that makes each of its images when asked, the same every time."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Images]:
        """Yield batches of 128."""
        for start in range(0, self.count, 128):
            generator = torch.Generator().manual_seed(start)
            y = torch.randint(10, (128,), generator=generator)
            yield torch.randn(128, 3, 32, 32, generator=generator) + y.view(-1, 1, 1, 1) / 10, y


def trained(case: str, x: Tensor, y: Tensor, loss: Any, nets: Path | None) -> nn.Module:
    """The network of a case; in ``nets`` its weights are kept, and found again."""
    make, _, _, steps, batch, lr = CASES[case]
    model, kept = make(), None if nets is None else nets / f"{case}.pt"
    if kept is not None and kept.exists():
        model.load_state_dict(torch.load(kept))
        return model.train()
    if case == "resnet50":
        fitted_by_adam(model, x, y, loss, steps=steps, batch=batch, lr=lr)
    else:
        fitted(model, x, y, loss, steps, batch, lr)
    if kept is not None:
        torch.save(model.state_dict(), kept)
    return model


def worker(case: str, folder: str | None, threads: int, nets: Path | None) -> dict[str, Any]:
    """Measure one case in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    loss: Any = F.cross_entropy
    if case in STREAMS:
        model, options = cifar_net("cnn"), {"hold": False, "max_samples": STREAMS[case], "rounds": 1}
        loader: Any = Stream(STREAMS[case])
        fitted(model, *next(iter(loader)), loss, 30, 32, 0.1)
    else:
        count, pixels = CASES[case][1:3]
        x, y = images(count, pixels, folder)
        if case == "unet":  # to say where an image is brighter than its surroundings
            bright = x.mean(1, keepdim=True)
            y = (bright > F.avg_pool2d(bright, 9, 1, 4, count_include_pad=False)).squeeze(1).float()
            loss = F.binary_cross_entropy_with_logits
        model, options = trained(case, x, y, loss, nets), {"precision": PRECISION}
        if case.startswith("d5"):
            options = {"precision": 0.02, "alone": True, "max_samples": count}
        loader = list(zip(x.split(64), y.split(64), strict=True))
    before, start = peak_mib(), time.perf_counter()
    report = bnlens.report(model, loader, loss, statistics_batch_size=SIZES, progress=False, **options)
    row: dict[str, Any] = {
        "case": case,
        "seconds": time.perf_counter() - start,
        "peak MiB": peak_mib(),
        "MiB before": before,
    }
    row |= {
        "layers": len(report.layers),
        "names": [layer.name for layer in report.layers],
        "samples": report.samples,
        "loss": report.network.population_loss.value,
    }
    row |= {"shuffles": report.rounds, "population sweeps": report.population_passes, "stopped": report.stopped}
    for size, gap in report.network.gaps.measured.items():
        shares = [layer.share[size] for layer in report.layers]
        row |= {f"gap at {size}": gap.value, f"gap stderr at {size}": gap.stderr}
        row |= {f"shares at {size}": [share.value for share in shares]}
        row |= {f"shares stderr at {size}": [share.stderr for share in shares]}
        if report.layers[0].gaps is not None:
            alone = [layer.gaps.measured[size] for layer in report.layers if layer.gaps is not None]
            row |= {
                f"alone at {size}": [gap.value for gap in alone],
                f"alone stderr at {size}": [gap.stderr for gap in alone],
            }
        row |= {f"sum of shares over gap at {size}": math.fsum(share.value for share in shares) / gap.value}
    return row


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__file__, __doc__, threads=2)
    arguments.add_argument("cases", nargs="*", default=[*CASES, *STREAMS], help="which (default: all)")
    arguments.add_argument("--data", help="folder with CIFAR-10")
    arguments.add_argument("--nets", type=Path, help="folder that keeps trained networks, to be measured again")
    arguments.add_argument("--worker", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker is not None:
        print(json.dumps(worker(options.worker, options.data, options.threads, options.nets)))
        return
    console, rows = Console(stderr=True), []
    if options.out.exists():  # rows of cases that are not run stay
        rows = [row for row in json.loads(options.out.read_text())["rows"] if row["case"] not in options.cases]
    config = {"sizes": SIZES, "precision": PRECISION, "data": "CIFAR-10" if options.data else "noise with class means"}
    for case in options.cases:
        with console.status(case):
            given = {name: getattr(options, name) for name in ("threads", "data", "nets")}
            shared = (f"--{name}={value}" for name, value in given.items() if value is not None)
            rows.append(of_fresh_process(__file__, "--worker", case, *shared))
        save(options.out, {"config": config, "rows": rows})  # a later case may take long
    titles = (
        "case",
        "layers",
        "minutes",
        "peak GiB",
        "shuffles",
        "gap at 16",
        "shares / gap",
        "gap at 64",
        "shares / gap",
    )
    shown = table(*titles)
    for row in rows:
        memory = f"{row['peak MiB'] / 1024:.2f}"
        cells = [row["case"], str(row["layers"]), f"{row['seconds'] / 60:.1f}", memory, str(row["shuffles"])]
        for size in SIZES:
            cells += [f"{row[f'gap at {size}']:.4f}", f"{row[f'sum of shares over gap at {size}']:.3f}"]
        shown.add_row(*cells)
    Console().print(shown)


if __name__ == "__main__":
    main()
