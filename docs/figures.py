"""Draw the figures of the README and docs/report.md and print their tables, from JSON in benchmarks/results.

Run: python docs/figures.py   (needs kaleido and a Chromium)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
    "predicted": ("predicted from other sizes", "predicted"),
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
    figure = beside_each_other()
    for column, net in enumerate(NETS, start=1):
        some = [row for row in rows if row["network"] == f"{net}-seed0" and row["M"] == size]
        some.sort(key=lambda row: row["layer"] == NETWORK)  # the network last, the layers in their order
        for name, (label, role) in SERIES.items():
            points = [(row["layer"], row[name], row[f"{name} stderr"]) for row in some]
            add_layers(figure, column, label, role, points)
    return finished(figure, f"gap at M = {size} (nats per sample)")


def beside_each_other() -> go.Figure:
    """An empty panel for each net."""
    return make_subplots(1, 2, subplot_titles=list(NETS.values()), column_widths=[0.36, 0.64], horizontal_spacing=0.07)


def add_layers(
    figure: go.Figure, column: int, name: str, role: str, points: Iterable[tuple[str, float, float]]
) -> None:
    """Add a value with its error of each layer to the panel of a net."""
    layers, values, errors = zip(*points, strict=True)
    figure.add_scatter(
        x=[short(layer) for layer in layers],
        y=values,
        error_y={"array": errors},
        mode="markers",
        name=name,
        showlegend=column == 1,
        marker={"color": ROLES[role]["color"], "symbol": ROLES[role]["symbol"], "size": 9},
        row=1,
        col=column,
    )


def finished(figure: go.Figure, title: str) -> go.Figure:
    """The figure in the house's look, with a title at the first vertical axis."""
    figure.update_layout(template=template(), width=1100, height=420, paper_bgcolor="white", scattermode="group")
    figure.update_layout(legend={"y": 1.12}, margin={"t": 90})
    figure.update_yaxes(title_text=title, row=1, col=1)
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(type="category")
    return figure


def ratio(row: dict[str, Any], kind: str) -> str:
    """Prediction over measurement with its error."""
    return number(row[f"{kind} / measured"], row[f"{kind} / measured stderr"])


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    head, *body = (f"| {' | '.join(cells)} |" for cells in (headings, *rows))
    return "\n".join([head, f"|{'---|' * len(headings)}", *body])


def network_table(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line per network, seed and M."""
    kinds = ("predicted", "first order", "Fisher", "two-term")
    cells = []
    for row in rows:
        if row["layer"] == NETWORK:
            net, seed = row["network"].split("-seed")
            gap = number(row["measured"], row["measured stderr"])
            cells.append([NETS[net], seed, str(row["M"]), gap, *(ratio(row, kind) for kind in kinds)])
    return markdown(["network", "seed", "M", "measured gap", *(f"{kind} / measured" for kind in kinds)], cells)


def layer_table(rows: list[dict[str, Any]]) -> str:
    """Markdown: the first-order law over the measured gap of each single layer, the seeds side by side."""
    seeds = sorted({row["network"].split("-seed")[1] for row in rows})
    by_key = {(row["network"], row["layer"], row["M"]): row for row in rows}
    cells = []
    for (job, layer, size), row in by_key.items():
        if layer == NETWORK or not job.endswith("-seed0"):
            continue
        net = job.removesuffix("-seed0")
        law = (ratio(by_key[f"{net}-seed{seed}", layer, size], "first order") for seed in seeds)
        cells.append([net, short(layer), str(size), *law, ratio(row, "two-term")])
    return markdown(["net", "layer", "M", *(f"seed {seed}" for seed in seeds), "two-term, seed 0"], cells)


def share_cases() -> dict[str, dict[str, Any]]:
    """The nets of D5 in the results of `benchmarks/report_reach.py`, by net."""
    rows = json.loads((ROOT / "benchmarks/results/report_reach.json").read_text(encoding="utf-8"))["rows"]
    return {row["case"].removeprefix("d5 "): row for row in rows if row["case"].startswith("d5 ")}


def draw_shares(cases: dict[str, dict[str, Any]], size: int = 16) -> go.Figure:
    """Share of each layer, beside the gap of that layer alone, in per cent of the network's gap."""
    figure = beside_each_other()
    for column, net in enumerate(NETS, start=1):
        row, gap = cases[net], cases[net][f"gap at {size}"]
        for name, label, role in (("shares", "share", "measured"), ("alone", "layer alone", "paper")):
            found = zip(row["names"], row[f"{name} at {size}"], row[f"{name} stderr at {size}"], strict=True)
            points = [(layer, 100 * value / gap, 100 * error / gap) for layer, value, error in found]
            add_layers(figure, column, label, role, points)
    return finished(figure, f"per cent of the network's gap at M = {size}")


def share_table(cases: dict[str, dict[str, Any]], sizes: tuple[int, ...] = (16, 64)) -> str:
    """Markdown: shares and gaps alone in nats and per cent of the network's gap."""
    columns = [(size, kind) for size in sizes for kind in ("shares", "alone")]
    lines = []
    for net, row in cases.items():
        for place, layer in enumerate(row["names"]):
            cells = []
            for size, kind in columns:
                value, error = row[f"{kind} at {size}"][place], row[f"{kind} stderr at {size}"][place]
                cells += [number(value, error), f"{100 * value / row[f'gap at {size}']:.0f}"]
            lines.append([net, short(layer), *cells])
        cells = []
        for size, kind in columns:
            total = sum(row[f"{kind} at {size}"])
            cells += [f"{total:.4f}", f"{100 * total / row[f'gap at {size}']:.0f}"]
        lines.append([net, "sum", *cells])
    headings = (name for size in sizes for name in (f"share, M = {size}", "%", "alone", "%"))
    return markdown(["network", "layer", *headings], lines)


def prediction_table(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown: each prediction over the measured gap with its stated error, from report_prediction.json."""
    kinds = {"curve": "curve", "logits": "logits", "first_order": "first order", "scaled": "scaled"}
    lines = []
    for row in rows:
        name = f"{row['net']} ({row['layers']}; {row['loss']:.2g}; {row['kurtosis']:.1f})"
        for size in (8, 16, 64, 128):
            cells = [name, str(size), number(row[f"gap at {size}"], row[f"gap stderr at {size}"])]
            for kind in kinds:
                found = row["judged"][kind][str(size)]
                text = "no law" if found["declared"] else f"{found['ratio']:.2f}({round(100 * found['error'])})"
                cells.append(f"**{text}**" if not (found["right"] or found["declared"]) else text)
            lines.append(cells)
            name = ""
    return markdown(["network (layers; loss; excess kurtosis)", "M", "measured gap", *kinds.values()], lines)


if __name__ == "__main__":
    table = rows_of_claims("d5_cifar10.json")["D5"]
    target = ROOT / "docs/images/gap_cifar10.png"
    target.parent.mkdir(exist_ok=True)
    draw(table).write_image(target, scale=2)
    shares = share_cases()
    draw_shares(shares).write_image(target.with_name("shares_cifar10.png"), scale=2)
    predictions = json.loads((ROOT / "benchmarks/results/report_prediction.json").read_text(encoding="utf-8"))["rows"]
    tables = network_table(table), layer_table(table), share_table(shares), prediction_table(predictions)
    print(*tables, f"Written: {target.parent}", sep="\n\n")
