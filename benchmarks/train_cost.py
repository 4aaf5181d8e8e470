"""How many images a second `bnlens.train.fit` trains on, beside a bare PyTorch loop, and how many its reader decodes.

Both train the same net on the same batches of the same images, with the same optimizer, and the script fails if they do not
end at the same weights bit for bit. The variants take turns; a ratio is taken within a repetition, and is one of images per
second: above 1, fit is the faster. The reader decodes CIFAR-10 from parquet where its folder is given.

Run: python benchmarks/train_cost.py --data DIR
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from shared import Times, cifar_net, noise, parser, ratios, reach, save, spread, table, timed
from torch import nn

from bnlens.train import ImageData, fit, load_data

BATCH_SIZE = 256
IMAGES = 5120
STEPS = {"cnn": 20, "resnet14": 5}  # about as long a turn for each
LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4
SEED = 0
TARGET = 0.9


def synthetic() -> ImageData:
    """Noise in the shape of CIFAR-10; what the images show does not change the cost."""
    return ImageData(*noise(IMAGES, SEED), tuple(map(str, range(10))), "noise", "train", (0.0,) * 3, (1.0,) * 3)


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


def check_equal(name: str, data: ImageData) -> None:
    nets = [cifar_net(name, SEED) for _ in range(2)]
    bare(nets[0], data, 3)
    trained(nets[1], data, 3)
    for key, tensor in nets[0].state_dict().items():
        if not torch.equal(tensor, nets[1].state_dict()[key]):
            sys.exit(f"{name}: fit and the bare loop end at different {key}")


def measure(name: str, data: ImageData, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Images per second of each variant, and its ratio to the bare loop's."""
    steps, order = STEPS[name], list(VARIANTS)
    speeds = {variant: Times([], []) for variant in VARIANTS}
    for repetition in range(-1, repeats):
        print(f"{name}: repetition {max(repetition + 1, 0)} of {repeats}", file=sys.stderr, end="\r", flush=True)
        for variant in order if repetition % 2 else reversed(order):
            net = cifar_net(name, SEED)
            _, seconds = timed(lambda: VARIANTS[variant](net, data, steps))  # noqa: B023 - called at once
            if repetition >= 0:  # the one before warms up
                for kept, value in zip(speeds[variant], seconds, strict=True):
                    kept.append(steps * BATCH_SIZE / value)
    bare_loop = speeds["bare loop"]
    return {
        variant: {
            "images_per_second": spread(found.elapsed),
            "ratio": spread(ratios(found.elapsed, bare_loop.elapsed)),
            "processor_time_ratio": spread(ratios(found.processor, bare_loop.processor)),
        }
        for variant, found in speeds.items()
    }


def read(folder: Path, repeats: int) -> dict[str, object]:
    """Images per second that `load_data` reads, decodes and standardises, of the whole training split."""
    speeds, count = [], 0
    for repetition in range(repeats):
        print(f"reader: repetition {repetition + 1} of {repeats}", file=sys.stderr, end="\r", flush=True)
        data, seconds = timed(lambda: load_data(folder))
        count = len(data)
        speeds.append(count / seconds.elapsed)
    return {"images": count, "images_per_second": spread(speeds)}


def main() -> None:
    arguments = parser(__file__, __doc__, repeats=11, threads=2)
    arguments.add_argument("--data", type=Path, help="folder of CIFAR-10 as parquet, to time the reader on")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    data = synthetic()
    nets = {}
    for name in STEPS:
        check_equal(name, data)
        nets[name] = measure(name, data, options.repeats)
    reader = None if options.data is None else read(options.data, 3)
    result = {
        "config": {"batch_size": BATCH_SIZE, "steps": STEPS, "repeats": options.repeats, "seed": SEED},
        "target": {"fit over bare loop": TARGET},
        "nets": nets,
        "reader": reader,
    }
    columns = ("net", "variant", "images/s", "range", "/ bare loop", "range", "/ bare loop, processor time")
    shown = table(*columns, left=2)
    for name, rows in nets.items():
        for variant, row in rows.items():
            speed, ratio = row["images_per_second"], row["ratio"]
            shown.add_row(
                name,
                variant,
                f"{speed['median']:,.0f}",
                reach(speed, ",.0f"),
                f"{ratio['median']:.2f}",
                reach(ratio),
                f"{row['processor_time_ratio']['median']:.2f}",
            )
    Console(width=110).print(shown)
    print(f"target for fit: {TARGET} of the bare loop")
    if reader is not None:
        speed = reader["images_per_second"]
        consumed = nets["cnn"]["fit"]["images_per_second"]["median"]
        print(f"reader: {speed['median']:,.0f} images/s decoded, where the 4-conv net trains on {consumed:,.0f}")  # type: ignore[index]
    save(options.out, result)


if __name__ == "__main__":
    main()
