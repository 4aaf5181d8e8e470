"""Draw the figure of the README and print the tables of docs/report.md from benchmarks/results/d5_cifar10.json.

Run: python docs/figures.py   (needs the extra [png] and a Chromium)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from bnlens.render import ROLES, number, template

ROOT = Path(__file__).parents[1]
NETWORK = "(network)"
NETS = {"cnn": "4-conv net", "resnet": "residual net, 9 BN layers"}
SERIES = {
    "measured": ("measured", "measured"),
    "exact": ("predicted from M0 = 32", "predicted"),
    "two-term": ("two-term (paper)", "paper"),
}


def rows_of_claims(file: str) -> dict[str, list[dict[str, Any]]]:
    """The tables of the claims in a file of results, by id."""
    results = json.loads((ROOT / "benchmarks/results" / file).read_text(encoding="utf-8"))
    return {claim["id"]: claim["rows"] for claim in results["claims"]}


def short(layer: str) -> str:
    """A layer's name without what all names share."""
    return "network" if layer == NETWORK else layer.removeprefix("blocks.").removeprefix("stages.")


def draw(rows: list[dict[str, Any]], size: int = 16) -> go.Figure:
    """Gap of each layer and of the network at one M, first seed of each net."""
    figure = make_subplots(
        1, 2, subplot_titles=list(NETS.values()), column_widths=[0.36, 0.64], horizontal_spacing=0.07
    )
    for column, net in enumerate(NETS, start=1):
        some = [row for row in rows if row["network"] == f"{net}-seed0" and row["M"] == size]
        some.sort(key=lambda row: row["layer"] == NETWORK)  # the network last, the layers in their order
        for name, (label, role) in SERIES.items():
            look = ROLES[role]
            figure.add_trace(
                go.Scatter(
                    x=[short(row["layer"]) for row in some],
                    y=[row[name] for row in some],
                    error_y={"array": [row[f"{name} stderr"] for row in some]},
                    mode="markers",
                    name=label,
                    showlegend=column == 1,
                    marker={"color": look["color"], "symbol": look["symbol"], "size": 9},
                ),
                row=1,
                col=column,
            )
    figure.update_layout(template=template(), width=1100, height=420, paper_bgcolor="white", scattermode="group")
    figure.update_layout(legend={"y": 1.12}, margin={"t": 90})
    figure.update_yaxes(title_text=f"gap at M = {size} (nats per sample)", row=1, col=1)
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(type="category")
    return figure


def ratio(row: dict[str, Any], kind: str) -> str:
    """Prediction over measurement with its error."""
    return number(row[f"{kind} / measured"], row[f"{kind} / measured stderr"])


def network_table(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line per network, seed and M."""
    lines = ["| network | seed | M | measured gap | predicted / measured | Fisher / measured | two-term / measured |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        if row["layer"] == NETWORK:
            net, seed = row["network"].split("-seed")
            gap = number(row["measured"], row["measured stderr"])
            ratios = " | ".join(ratio(row, kind) for kind in ("exact", "Fisher", "two-term"))
            lines.append(f"| {NETS[net]} | {seed} | {row['M']} | {gap} | {ratios} |")
    return "\n".join(lines)


def layer_table(rows: list[dict[str, Any]]) -> str:
    """Markdown: predicted over measured of each single layer, the seeds side by side."""
    seeds = sorted({row["network"].split("-seed")[1] for row in rows})
    lines = ["| net | layer | M | " + " | ".join(f"seed {seed}" for seed in seeds) + " | two-term, seed 0 |"]
    lines.append("|---|---|---|" + "---|" * (len(seeds) + 1))
    by_key = {(row["network"], row["layer"], row["M"]): row for row in rows}
    for (job, layer, size), row in by_key.items():
        if layer == NETWORK or not job.endswith("-seed0"):
            continue
        net = job.removesuffix("-seed0")
        exact = " | ".join(ratio(by_key[f"{net}-seed{seed}", layer, size], "exact") for seed in seeds)
        lines.append(f"| {net} | {short(layer)} | {size} | {exact} | {ratio(row, 'two-term')} |")
    return "\n".join(lines)


if __name__ == "__main__":
    table = rows_of_claims("d5_cifar10.json")["D5"]
    target = ROOT / "docs/images/gap_cifar10.png"
    target.parent.mkdir(exist_ok=True)
    draw(table).write_image(target, scale=2)
    print(network_table(table), layer_table(table), f"Written: {target.relative_to(ROOT)}", sep="\n\n")
