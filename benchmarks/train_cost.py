"""How many images a second `bnlens.train.fit` trains on, beside a bare PyTorch loop, and how many its reader decodes.

Both train the same net on the same batches of the same images, with the same optimizer, and the script fails if they do not
end at the same weights bit for bit. The variants take turns; a ratio is taken within a repetition, and is one of images per
second: above 1, fit is the faster. The reader decodes CIFAR-10 from parquet where its folder is given.

Run: python benchmarks/train_cost.py --data DIR
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from machine import machine_facts
from repetitions import ratios, spread
from rich.console import Console
from rich.table import Table
from torch import nn

from bnlens._files import write_atomic
from bnlens.train import ImageData, build_net, fit, load_data

OUT = Path(__file__).parent / "results" / "train_cost.json"
BATCH_SIZE = 256
IMAGES = 5120
STEPS = {"cnn": 20, "resnet14": 5}  # about as long a turn for each
LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4
SEED = 0
TARGET = 0.9


def synthetic() -> ImageData:
    """Noise in the shape of CIFAR-10; what the images show does not change the cost."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(IMAGES, 3, 32, 32, generator=generator)
    labels = torch.randint(10, (IMAGES,), generator=generator)
    return ImageData(images, labels, tuple(map(str, range(10))), "noise", "train", (0.0,) * 3, (1.0,) * 3)


def bare(net: nn.Module, data: ImageData, steps: int) -> None:
    """The loop that one writes by hand."""
    weights = [parameter for parameter in net.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in net.parameters() if parameter.ndim < 2]
    groups = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others}]
    optimizer = torch.optim.SGD(groups, lr=LR, momentum=MOMENTUM)
    generator = torch.Generator().manual_seed(SEED)
    order = torch.cat([torch.randperm(IMAGES, generator=generator) for _ in range(-(-steps * BATCH_SIZE // IMAGES))])
    net.train()
    for rows in order.split(BATCH_SIZE)[:steps]:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(data.images[rows]), data.labels[rows]).backward()
        optimizer.step()


def trained(net: nn.Module, data: ImageData, steps: int, *, augment: bool = False) -> None:
    fit(
        net, data, statistics_batch_size=BATCH_SIZE, batch_size=BATCH_SIZE, steps=steps, lr=LR, momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY, schedule="constant", warmup_steps=0, recalibrate=False, augment=augment, seed=SEED,
    )  # fmt: skip


VARIANTS: dict[str, Callable[[nn.Module, ImageData, int], None]] = {
    "bare loop": bare,
    "fit": trained,
    "fit, augmented": lambda net, data, steps: trained(net, data, steps, augment=True),
}


def build(name: str) -> nn.Module:
    return build_net(name, input_shape=(3, 32, 32), num_classes=10, seed=SEED)


def check_equal(name: str, data: ImageData) -> None:
    nets = [build(name) for _ in range(2)]
    bare(nets[0], data, 3)
    trained(nets[1], data, 3)
    for key, tensor in nets[0].state_dict().items():
        if not torch.equal(tensor, nets[1].state_dict()[key]):
            sys.exit(f"{name}: fit and the bare loop end at different {key}")


def measure(name: str, data: ImageData, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Images per second of each variant, and its ratio to the bare loop's."""
    steps, order = STEPS[name], list(VARIANTS)
    elapsed: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    processor: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for repetition in range(-1, repeats):
        print(f"{name}: repetition {max(repetition + 1, 0)} of {repeats}", file=sys.stderr, end="\r", flush=True)
        for variant in order if repetition % 2 else reversed(order):
            net = build(name)
            start, processor_start = time.perf_counter(), time.process_time()
            VARIANTS[variant](net, data, steps)
            if repetition >= 0:  # the one before warms up
                elapsed[variant].append(steps * BATCH_SIZE / (time.perf_counter() - start))
                processor[variant].append(steps * BATCH_SIZE / (time.process_time() - processor_start))
    return {
        variant: {
            "images_per_second": spread(elapsed[variant]),
            "ratio": spread(ratios(elapsed[variant], elapsed["bare loop"])),
            "processor_time_ratio": spread(ratios(processor[variant], processor["bare loop"])),
        }
        for variant in VARIANTS
    }


def read(folder: Path, repeats: int) -> dict[str, object]:
    """Images per second that `load_data` reads, decodes and standardises, of the whole training split."""
    speeds, count = [], 0
    for repetition in range(repeats):
        print(f"reader: repetition {repetition + 1} of {repeats}", file=sys.stderr, end="\r", flush=True)
        start = time.perf_counter()
        count = len(load_data(folder))
        speeds.append(count / (time.perf_counter() - start))
    return {"images": count, "images_per_second": spread(speeds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11, help="repetitions of all variants (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default %(default)s)")
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10 as parquet, to time the reader on")
    parser.add_argument("--out", type=Path, default=OUT, help="JSON file to write (default %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = synthetic()
    nets = {}
    for name in STEPS:
        check_equal(name, data)
        nets[name] = measure(name, data, options.repeats)
    reader = None if options.data is None else read(options.data, 3)
    result = {
        "benchmark": "train_cost",
        "machine": machine_facts(),
        "config": {"batch_size": BATCH_SIZE, "steps": STEPS, "repeats": options.repeats, "seed": SEED},
        "target": {"fit over bare loop": TARGET},
        "nets": nets,
        "reader": reader,
    }
    write_atomic(options.out, json.dumps(result, indent=2) + "\n")
    table = Table("net", "variant", "images/s", "range", "/ bare loop", "range", "/ bare loop, processor time")
    for name, rows in nets.items():
        for variant, row in rows.items():
            speed, ratio = row["images_per_second"], row["ratio"]
            table.add_row(
                name,
                variant,
                f"{speed['median']:,.0f}",
                f"{speed['min']:,.0f} - {speed['max']:,.0f}",
                f"{ratio['median']:.2f}",
                f"{ratio['min']:.2f} - {ratio['max']:.2f}",
                f"{row['processor_time_ratio']['median']:.2f}",
            )
    console = Console(width=110)
    console.print(table)
    print(f"target for fit: {TARGET} of the bare loop")
    if reader is not None:
        speed = reader["images_per_second"]
        consumed = nets["cnn"]["fit"]["images_per_second"]["median"]
        print(f"reader: {speed['median']:,.0f} images/s decoded, where the 4-conv net trains on {consumed:,.0f}")  # type: ignore[index]
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
