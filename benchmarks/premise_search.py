"""Where BN over M lowers the test loss: the search for the settings of claims E1 to E4, E6, E8, E9 and D8.

Their comparisons say something about regularisation only where BN over M does better on test images than population
normalization (PN). Each net is trained with both at each setting, a number of images of CIFAR-10 and of epochs, without
augmentation, as the claims train, with seeds that the claims do not use. Chosen, for each net, before any of the claims ran
there: of the settings in which BN over M lowers the test loss by two standard errors, paired by seed, that in which PN's
test loss is smallest, so the net that overfits least.

A run that is in the file is not made again.

Run: python benchmarks/premise_search.py --data DIR
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch
from rich.console import Console
from shared import parser, save, table

import bnlens
from bnlens.train import build_net, evaluate, fit, load_data

M, BATCH, LR = 8, 256, 0.3
SETTINGS = {
    "resnet": ((10_000, 10), (10_000, 20), (5000, 20), (5000, 40), (2000, 50)),
    "cnn-fc": ((5000, 20), (5000, 40), (2000, 25), (2000, 50)),
}
"""Training images and epochs, by net."""


def run(folder: str, net: str, samples: int, epochs: int, size: float, seed: int) -> dict[str, Any]:
    """Train one net; its losses (nats per image) and test accuracy."""
    images, test = load_data(folder, samples=samples, seed=seed), load_data(folder, split="test")
    model = build_net(net, input_shape=images.input_shape, num_classes=images.num_classes, seed=seed)
    bnlens.convert(model)
    fit(
        model,
        images,
        statistics_batch_size=size,
        batch_size=BATCH,
        device_batch_size=BATCH,
        epochs=epochs,
        lr=LR,
        seed=seed,
    )
    on_train, on_test = evaluate(model, images), evaluate(model, test)
    row = {"net": net, "images": samples, "epochs": epochs, "M": "inf" if math.isinf(size) else int(size), "seed": seed}
    return row | {
        "train loss": on_train.cross_entropy,
        "test loss": on_test.cross_entropy,
        "test accuracy": on_test.accuracy,
    }


def judged(rows: list[dict[str, Any]], nets: list[str]) -> list[dict[str, Any]]:
    """One row per setting: losses of PN and BN, and BN's test loss less PN's with its standard error."""
    found = []
    for net in nets:
        of_net = []
        for samples, epochs in SETTINGS[net]:
            kinds = [
                [
                    row
                    for row in rows
                    if (row["net"], row["images"], row["epochs"], row["M"]) == (net, samples, epochs, size)
                ]
                for size in ("inf", M)
            ]
            pn, bn = (
                np.array([row["test loss"] for row in sorted(kind, key=lambda row: row["seed"])]) for kind in kinds
            )
            error = float((bn - pn).std(ddof=1) / math.sqrt(len(pn)))
            row = {"net": net, "images": samples, "epochs": epochs}
            for name, kind in zip(("PN", "BN"), kinds, strict=True):
                row |= {
                    f"{name} {what}": float(np.mean([one[what] for one in kind]))
                    for what in ("train loss", "test loss", "test accuracy")
                }
            of_net.append({**row, "BN less PN": float((bn - pn).mean()), "stderr": error, "chosen": False})
        helps = [row for row in of_net if row["BN less PN"] <= -2 * row["stderr"]]
        for row in sorted(helps, key=lambda row: row["PN test loss"])[:1]:
            row["chosen"] = True
        found += of_net
    return found


def main() -> None:
    """Run the search."""
    arguments = parser(__file__, __doc__, threads=1)
    arguments.add_argument("--data", required=True, help="folder with CIFAR-10")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102], help="(default %(default)s)")
    arguments.add_argument("--nets", nargs="+", default=[*SETTINGS], choices=[*SETTINGS], help="(default: all)")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    rows = json.loads(options.out.read_text())["runs"] if options.out.exists() else []
    config = {"M": M, "batch": BATCH, "lr": LR, "seeds": options.seeds, "data": "CIFAR-10"}
    for net in options.nets:
        for samples, epochs in SETTINGS[net]:
            for size in (math.inf, M):
                for seed in options.seeds:
                    name = {"net": net, "images": samples, "epochs": epochs, "M": "inf" if math.isinf(size) else M}
                    if not any(row.items() >= {**name, "seed": seed}.items() for row in rows):
                        rows.append(run(options.data, net, samples, epochs, size, seed))
                        save(options.out, {"config": config, "runs": rows})
    settings = judged(rows, options.nets)
    save(options.out, {"config": config, "settings": settings, "runs": rows})
    shown = table("net", "images", "epochs", "PN train / test", "BN train / test", "BN less PN, test", "chosen")
    for row in settings:
        losses = [f"{row[f'{name} train loss']:.3f} / {row[f'{name} test loss']:.3f}" for name in ("PN", "BN")]
        change = f"{row['BN less PN']:+.3f} ± {row['stderr']:.3f}"
        shown.add_row(
            row["net"], str(row["images"]), str(row["epochs"]), *losses, change, "yes" if row["chosen"] else ""
        )
    Console().print(shown)


if __name__ == "__main__":
    main()
