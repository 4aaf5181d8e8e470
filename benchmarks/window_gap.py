"""How much more a network regularises with windows over M at device batches of m than BN over M does, at fixed weights.

A net is trained with BN over 64. Then, its weights fixed, it runs in train mode over shuffled training images in batches
of m, with windows over 64 and with windows over `bnlens.nn.matching_window(64, m)`. Each gap is the mean cross-entropy so
found, less that with population statistics; a shuffle gives one number. BN over 64 is run in batches of 64.

Run: python benchmarks/window_gap.py --data DIR
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from shared import parser, save, table
from torch import nn
from torch.nn import functional as F

import bnlens
from bnlens.nn import matching_window
from bnlens.train import ImageData, build_net, evaluate, fit, load_data

M = 64
DEVICES = (32, 16, 8, 4, 2)
SAMPLES, STEPS, LR = 2000, 240, 0.3


def trained(net: str, data: ImageData, seed: int) -> nn.Module:
    """A net trained with BN over M, with exact population statistics."""
    shape = data.images.shape[1:]
    model = build_net(net, input_shape=tuple(shape), num_classes=data.num_classes, seed=seed)
    bnlens.convert(model)
    fit(model, data, statistics_batch_size=M, batch_size=256, steps=STEPS, lr=LR, seed=seed)
    return model


@torch.no_grad()
def gaps(model: nn.Module, data: ImageData, window: int, device: int, shuffles: int) -> NDArray[np.float64]:
    """Gap with a statistics batch size of ``window`` in batches of ``device``, by shuffle; the model is not changed."""
    model = copy.deepcopy(model)
    population = evaluate(model, data).cross_entropy
    bnlens.set_statistics_batch_size(model, window)
    model.train()
    found = []
    for shuffle in range(-1, shuffles):  # the first fills the windows and does not count
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1 + shuffle))
        order = order[: len(order) // device * device]
        losses = [F.cross_entropy(model(data.images[some]), data.labels[some]).item() for some in order.split(device)]
        if shuffle >= 0:
            found.append(float(np.mean(losses)) - population)
    return np.array(found)


def measure(net: str, data: ImageData, seed: int, shuffles: int) -> list[dict[str, Any]]:
    """Rows of one net: gaps of BN over M and of windows, and ratios of these to BN's."""
    model = trained(net, data, seed)
    bn = gaps(model, data, M, M, shuffles)
    rows: list[dict[str, Any]] = [{"net": net, "seed": seed, "device batch": M, "window": M, **_columns("gap", bn)}]
    for device in DEVICES:
        for window in (M, matching_window(M, device)):
            found = gaps(model, data, window, device, shuffles)
            ratio = found.mean() / bn.mean()
            error = np.hypot(_error(found) / found.mean(), _error(bn) / bn.mean()) * ratio
            row = {"net": net, "seed": seed, "device batch": device, "window": window, **_columns("gap", found)}
            rows.append({**row, "ratio to BN": float(ratio), "ratio to BN stderr": float(error)})
    return rows


def _columns(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    return {name: float(values.mean()), f"{name} stderr": _error(values)}


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def main() -> None:
    arguments = parser(__file__, __doc__, threads=1)
    arguments.add_argument("--data", default="digits", help="folder with CIFAR-10 (default: the digits)")
    arguments.add_argument("--nets", nargs="+", default=["cnn", "resnet"], help="nets (default %(default)s)")
    arguments.add_argument("--seed", type=int, default=0, help="of weights and images (default %(default)s)")
    arguments.add_argument("--shuffles", type=int, default=32, help="passes over the images (default %(default)s)")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", "batches of .* for a statistics batch size of", UserWarning)
    console = Console(stderr=True)
    samples = SAMPLES if options.data != "digits" else 1000
    data = load_data(options.data, samples=samples, seed=options.seed)
    rows: list[dict[str, Any]] = []
    for net in options.nets:
        with console.status(f"{net}: training and {1 + 2 * len(DEVICES)} kinds of statistics"):
            rows += measure(net, data, options.seed, options.shuffles)
    shown = table("net", "device batch", "window", f"gap x {M}", "ratio to BN")
    for row in rows:
        ratio = f"{row['ratio to BN']:.2f} ± {row['ratio to BN stderr']:.2f}" if "ratio to BN" in row else "1"
        shown.add_row(row["net"], str(row["device batch"]), str(row["window"]), f"{M * row['gap']:.2f}", ratio)
    Console().print(shown)
    config = {"data": data.name, "images": len(data), "statistics batch size": M, "steps": STEPS, "lr": LR}
    config |= {"nets": options.nets, "seed": options.seed, "shuffles": options.shuffles}
    save(options.out, {"config": config, "rows": rows})


if __name__ == "__main__":
    main()
