"""How well each prediction of `bnlens.report` meets the gap, on networks that others wrote and on some that overfit.

For each network of `foreign_nets`: the gap at M = 8, 16, 64 and 128 from many shuffles, and one report of default precision
at M = 16 and 64 from other groups, whose predictions never use groups of the size that they are for. Two networks get as many
such reports as ``--seeds``, which tell how often two stated errors hold the gap. docs/prediction.md has the criterion
by which the default prediction was chosen from these numbers.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

import torch
from foreign_nets import NETS
from rich.console import Console
from shared import of_fresh_process, parser, save, table

import bnlens
from bnlens.measure import Estimate, Report

SIZES = (8, 16, 64, 128)
KINDS = ("curve", "logits", "first_order", "scaled")
MANY = ("digits MLP, ReLU", "digits CNN")
MOST = 1536  # samples
WIDE = 0.25  # of its value: an error that declares that there is no law


def worker(name: str, folder: str, threads: int, shuffles: int, seeds: int) -> dict[str, Any]:
    """Train, measure and predict in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, x, y, loss = NETS[name](folder)
    loader = list(zip(x.split(128), y.split(128), strict=True))
    fixed: dict[str, Any] = {"max_samples": min(len(x), MOST), "progress": False, "shares": False}
    first = 1000 * list(NETS).index(name)  # groups of their own for each net: they share images
    more: dict[str, Any] = {"prediction_batch_size": 32, "rounds": shuffles, "seed": first + 999}
    truth = bnlens.report(model, loader, loss, statistics_batch_size=SIZES, **more, **fixed)
    measured = truth.network.gaps.measured
    row: dict[str, Any] = {"net": name, "layers": len(truth.layers), "samples": truth.samples}
    row |= {"loss": truth.network.population_loss.value, "kurtosis": truth.network.gaps.kurtosis}
    row |= {f"gap at {size}": gap.value for size, gap in measured.items()}
    row |= {f"gap stderr at {size}": gap.stderr for size, gap in measured.items()}
    row["reports"] = []
    for seed in range(seeds if name in MANY else 1):
        report = bnlens.report(model, loader, loss, first_order=True, logits=True, seed=first + seed, **fixed)
        row["reports"].append({"seed": seed, "shuffles": report.rounds, "stopped": report.stopped} | _predicted(report))
    return row


def _predicted(report: Report) -> dict[str, Any]:
    gaps = report.network.gaps
    found: dict[str, Any] = {
        "measured": {s: [gap.value, gap.stderr] for s, gap in {**gaps.measured, **gaps.others}.items()}
    }
    for size in SIZES:
        for kind in KINDS:
            estimate = _scaled(report, size)
            if kind != "scaled":
                prediction = report.predict(size, kind=kind, population=report.samples)
                estimate = prediction.network
            found[f"{kind} at {size}"] = [estimate.value, estimate.stderr]
    return found


def _scaled(report: Report, size: int) -> Estimate:
    gaps = report.network.gaps
    return gaps.others[gaps.source] * gaps.scale(size, gaps.population)


def judged(row: dict[str, Any], report: dict[str, Any], kind: str, size: int) -> dict[str, Any]:
    """Return predicted / measured, its stated error, and whether it is declared, right, and covered."""
    gap, error = row[f"gap at {size}"], row[f"gap stderr at {size}"]
    value, stated = report[f"{kind} at {size}"]
    ratio, relative = value / gap, stated / abs(gap)
    declared = not stated <= WIDE * abs(value)
    near = abs(ratio - 1) <= 0.1 or (relative <= 0.1 and abs(ratio - 1) <= 2 * relative)
    covered = abs(value - gap) <= 2 * math.hypot(stated, error)
    return {"ratio": ratio, "error": relative, "declared": declared, "right": near and not declared, "covered": covered}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for each kind how often it is right, by size, and covered, and how often it declares that there is no law."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        one = [(judged(row, row["reports"][0], kind, size), size) for row in rows for size in SIZES]
        many = [
            judged(row, report, kind, size)
            for row in rows
            if row["net"] in MANY
            for report in row["reports"]
            for size in SIZES
        ]
        middle = [verdict for verdict, size in one if size in (16, 64)]
        found[kind] = {
            "right at 16 and 64": sum(v["right"] for v in middle),
            "declared at 16 and 64": sum(v["declared"] for v in middle),
            "of": len(middle),
            "right at 8 and 128": sum(v["right"] for v, size in one if size in (8, 128)),
            "declared at 8 and 128": sum(v["declared"] for v, size in one if size in (8, 128)),
            "covered, all nets and sizes": sum(v["covered"] for v, _ in one) / len(one),
            "covered, over seeds": sum(v["covered"] for v in many) / len(many) if many else None,
            "cases over seeds": len(many),
        }
    return found


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__file__, __doc__, threads=1)
    arguments.add_argument("nets", nargs="*", default=list(NETS), help="which (default: all)")
    arguments.add_argument("--data", required=True, help="folder with CIFAR-10")
    arguments.add_argument("--shuffles", type=int, default=24, help="for the gaps that predictions are held against")
    arguments.add_argument("--seeds", type=int, default=20, help="reports of two networks")
    arguments.add_argument("--worker", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker is not None:
        print(json.dumps(worker(options.worker, options.data, options.threads, options.shuffles, options.seeds)))
        return
    console, rows = Console(stderr=True), []
    if options.out.exists():  # rows of nets that are not run stay
        rows = [row for row in json.loads(options.out.read_text())["rows"] if row["net"] not in options.nets]
    config = {"sizes": SIZES, "shuffles": options.shuffles, "seeds": options.seeds, "data": "CIFAR-10 and digits"}
    for name in options.nets:
        with console.status(name):
            numbers = (f"--{option}={getattr(options, option)}" for option in ("threads", "shuffles", "seeds"))
            rows.append(of_fresh_process(__file__, "--worker", name, "--data", options.data, *numbers))
        rows.sort(key=lambda row: list(NETS).index(row["net"]))
        for row in rows:
            row["judged"] = {kind: {m: judged(row, row["reports"][0], kind, m) for m in SIZES} for kind in KINDS}
        result = {"config": config, "rows": rows, "summary": summary(rows)}
        save(options.out, result)
    shown = table("net", "loss", "kurtosis", "M", "gap", *KINDS)
    for row in rows:
        for size in SIZES:
            cells = [
                row["net"],
                f"{row['loss']:.3g}",
                f"{row['kurtosis']:.1f}",
                str(size),
                f"{row[f'gap at {size}']:.4g}",
            ]
            for kind in KINDS:
                verdict = judged(row, row["reports"][0], kind, size)
                cells.append(
                    f"{verdict['ratio']:.2f}({verdict['error']:.2f}){' no law' if verdict['declared'] else ''}"
                )
            shown.add_row(*cells)
    Console(width=150).print(shown)
    Console().print_json(data=summary(rows))


if __name__ == "__main__":
    main()
