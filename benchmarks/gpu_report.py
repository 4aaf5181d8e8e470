"""The part of `gpu.py` on `bnlens.report`: a ResNet-50 at 224 pixels on images of noise, beside a training step."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from gpu_common import Clock, Turns
from rich.table import Table
from shared import peak_mib, spread, table, timed
from torch import Tensor, nn

import bnlens

CLASSES, SEED = 1000, 0
STEPS = 5  # of training, timed


class Size(NamedTuple):
    """Of the images and the net."""

    pixels: int
    batch: int
    samples: int
    width: int
    blocks: tuple[int, ...]
    M: int


FULL = Size(pixels=224, batch=64, samples=512, width=64, blocks=(3, 4, 6, 3), M=32)
SMALL = Size(pixels=32, batch=16, samples=32, width=4, blocks=(1, 1), M=8)


class Variant(NamedTuple):
    """Number type and order of the images and activations."""

    name: str
    dtype: torch.dtype
    order: torch.memory_format

    def __str__(self) -> str:
        return self.name

    def autocast(self, device: str) -> AbstractContextManager[Any]:
        """The context of the forward pass."""
        return torch.autocast(torch.device(device).type, self.dtype, enabled=self.dtype != torch.float32)


VARIANTS = (
    Variant("bfloat16, channels last", torch.bfloat16, torch.channels_last),
    Variant("float32, NCHW", torch.float32, torch.contiguous_format),
)


class Bottleneck(nn.Module):
    """Convolutions of 1, 3 and 1 pixels, each with BN, beside a shortcut (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


def resnet(size: Size) -> nn.Module:
    """ResNet-50 at `FULL`: 53 BN layers, 25.6 million parameters, the stride in the 3x3 convolutions."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, size.width, 7, 2, padding=3, bias=False), nn.BatchNorm2d(size.width), nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
    ]  # fmt: skip
    inputs = size.width
    for stage, blocks in enumerate(size.blocks):
        width = size.width * 2**stage
        for block in range(blocks):
            layers.append(Bottleneck(inputs, width, 2 if stage and not block else 1))
            inputs = 4 * width
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


class Passes:
    """For `bnlens.report`'s ``forward``: runs the net and counts."""

    def __init__(self, variant: Variant, device: str) -> None:
        self.variant, self.device = variant, device
        self.calls = self.images = 0

    def __call__(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits in float32, and labels."""
        images, labels = (tensor.to(self.device) for tensor in batch)
        self.calls += 1
        self.images += len(images)
        with self.variant.autocast(self.device):
            output = model(images.to(memory_format=self.variant.order))
        return output.float(), labels


class Memory:
    """The peak of memory since it was made: on a CUDA device of torch's allocator, else of the process since its start."""

    def __init__(self, device: str) -> None:
        self.on_cuda = device.startswith("cuda")
        if self.on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_mib(self) -> float:
        """The peak."""
        return torch.cuda.max_memory_allocated() / 2**20 if self.on_cuda else peak_mib()


def train_steps(net: nn.Module, batch: tuple[Tensor, Tensor], passes: Passes) -> list[float]:
    """Seconds of each forward and backward pass, the first left out."""
    net.train()

    def step() -> None:
        net.zero_grad(set_to_none=True)
        output, labels = passes(net, batch)
        F.cross_entropy(output, labels).backward()  # type: ignore[no-untyped-call]
        if passes.device.startswith("cuda"):
            torch.cuda.synchronize()

    found = [timed(step)[1].elapsed for _ in range(STEPS + 1)]
    net.zero_grad(set_to_none=True)
    return found[1:]


def run(device: str, clock: Clock, *, small: bool) -> dict[str, Any]:
    """For each variant the time of a training pass over a batch, that of the report, and the peaks of memory."""
    size = SMALL if small else FULL
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(size.samples, 3, size.pixels, size.pixels, generator=generator)
    labels = torch.randint(CLASSES, (size.samples,), generator=generator)
    batches = list(zip(images.split(size.batch), labels.split(size.batch), strict=True))
    rows: list[dict[str, Any]] = []
    turns = Turns(clock)

    def turn(variant: Variant) -> None:
        share = clock.left() / (len(VARIANTS) - VARIANTS.index(variant))
        rows.append(measure(variant, size, batches, device, clock.part(share)))

    turns.over(VARIANTS, turn, lambda variant: variant)
    return {
        "data": "noise",
        "size": size._asdict(),
        "seed": SEED,
        "rows": rows,
        "left_out": turns.left_out,
        "errors": turns.errors,
    }


def measure(
    variant: Variant, size: Size, batches: list[tuple[Tensor, Tensor]], device: str, clock: Clock
) -> dict[str, Any]:
    """One row of the result."""
    torch.manual_seed(SEED)
    net = resnet(size).to(device, memory_format=variant.order)
    on_device = tuple(tensor.to(device) for tensor in batches[0])
    memory = Memory(device)
    training = train_steps(net, on_device, Passes(variant, device))
    training_peak, memory, passes = memory.peak_mib(), Memory(device), Passes(variant, device)
    report, seconds = timed(
        partial(
            bnlens.report, net, batches, F.cross_entropy, statistics_batch_size=size.M, max_samples=size.samples,
            forward=passes, device=device, max_seconds=max(1.0, clock.left()), seed=SEED, progress=False,
        )
    )  # fmt: skip
    gap = report.network.gaps.measured[size.M]
    return {
        "variant": variant.name,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "bn_layers": len(report.layers),
        "training_pass_ms": spread([1e3 * each for each in training]),
        "training_peak_mib": training_peak,
        "report_seconds": seconds.elapsed,
        "report_passes": passes.calls,
        "report_images": passes.images,
        "report_ms_per_batch": 1e3 * seconds.elapsed * size.batch / passes.images,
        "report_peak_mib": memory.peak_mib(),
        "measured_gap": gap.value,
        "measured_gap_stderr": gap.stderr,
    }


def show(found: dict[str, Any]) -> Table:
    """One line per variant."""
    size = found["size"]
    columns = (
        "variant",
        "training pass, ms",
        "report, s",
        "passes",
        "ms / batch",
        "peak, MiB",
        "of training, MiB",
        "gap",
    )
    shown = table(
        *columns,
        title=f"report of a ResNet at {size['pixels']} pixels, {size['samples']} images, batch {size['batch']}",
    )
    for row in found["rows"]:
        shown.add_row(
            row["variant"],
            f"{row['training_pass_ms']['median']:.1f}",
            f"{row['report_seconds']:.1f}",
            str(row["report_passes"]),
            f"{row['report_ms_per_batch']:.1f}",
            f"{row['report_peak_mib']:,.0f}",
            f"{row['training_peak_mib']:,.0f}",
            f"{row['measured_gap']:.4f} ± {row['measured_gap_stderr']:.4f}",
        )
    return shown
