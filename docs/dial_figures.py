"""Draw the dial's figure and print its tables from benchmarks/results: dial_cifar10.json and device_batch_cifar10.json.

Run: python docs/dial_figures.py   (needs kaleido and a Chromium)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from figures import ROOT, markdown, rows_of_claims
from plotly.subplots import make_subplots

from bnlens.render import PALETTE, ROLES, number, template

Row = Mapping[str, Any]


def draw(family: Sequence[Row], devices: Sequence[Row]) -> go.Figure:
    """Left: distance from BN over 64 by device batch. Right: train and test loss over M."""
    titles = ("Train loss less that of BN over 64", "Device batch 256, statistics batch size set")
    figure = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.1)
    ways = (("plain BN", "paper"), ("windows", "predicted"), ("shared", "measured"))
    for name, role in ways:
        column, look = f"train loss, {name}", ROLES[role]
        some = [row for row in devices if row.get(column) is not None]
        figure.add_trace(_points(name, some, "device batch", column, look["color"], look["symbol"]), 1, 1)
    for name, color, symbol in (("train loss", PALETTE[0], "circle-open"), ("test loss", PALETTE[1], "diamond")):
        figure.add_trace(_points(name, family, "M", name, color, symbol), 1, 2)
    figure.update_layout(template=template(), width=1100, height=420, paper_bgcolor="white")
    figure.update_layout(legend={"y": 1.12}, margin={"t": 90})
    order = [str(row["device batch"]) for row in devices]
    figure.update_xaxes(type="category", title_text="device batch", categoryarray=order, row=1, col=1)
    figure.update_xaxes(type="category", title_text="statistics batch size M", row=1, col=2)
    figure.update_yaxes(title_text="nats per image", col=1)
    return figure


def _points(name: str, rows: Sequence[Row], x: str, y: str, color: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=[str(row[x]) for row in rows],
        y=[row[y] for row in rows],
        error_y={"array": [row[f"{y} stderr"] for row in rows]},
        mode="lines+markers",
        line={"color": color},
        marker={"color": color, "symbol": symbol, "size": 9},
    )


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """Markdown: the columns of ``rows`` under new headings, values with their errors."""
    return markdown(list(columns.values()), [[_cell(row, column) for column in columns] for row in rows])


def _cell(row: Row, column: str) -> str:
    value, error = row.get(column), row.get(f"{column} stderr")
    if value is None:
        return "–"
    if error is None:
        return str(value)
    if column.endswith("closed"):
        return f"{100 * value:.0f}% ± {100 * error:.0f}%"
    return number(value, error)


FAMILY = {"M": "M", "train loss": "train loss", "test loss": "test loss", "test accuracy": "test accuracy"}
FAMILY |= {f"change of {loss}": f"{loss}, change from the row above" for loss in ("train loss", "test loss")}
DEVICES = {
    loss: {"device batch": "device batch", f"{loss}, plain BN": "plain BN"}
    | {f"{loss}, {way}{more}": f"{way}{more}" for way in ("windows", "shared") for more in ("", ", closed")}
    for loss in ("train loss", "test loss")
}
GIVEN = {"device batch": "device batch", "window": "window"}
for _loss in ("train loss", "test loss"):
    GIVEN |= {f"{_loss}, {way}": f"{way}: {_loss}" for way in ("plain BN", "dial")} | {f"{_loss}, closed": "closed"}
EXPLICIT = {"regularised by": "", "train loss": "train loss", "test loss": "test loss"}
EXPLICIT |= {f"{loss}, strength": f"strength in {loss}" for loss in ("train loss", "test loss")}
EXPLICIT |= {"rms gamma": "rms γ by layer"}


if __name__ == "__main__":
    claims, devices = rows_of_claims("dial_cifar10.json"), rows_of_claims("device_batch_cifar10.json")["N2"]
    # In the older file the windows are as wide as the layers were told.
    given = [{**row, "window": row["statistics batch size"]} for row in claims["N2"] if row["device batch"] < 64]
    target = ROOT / "docs/images/dial_cifar10.png"
    draw(claims["N1"], devices).write_image(target, scale=2)
    print(
        table(claims["N1"], FAMILY), *(table(devices, columns) for columns in DEVICES.values()), sep="\n\n", end="\n\n"
    )
    print(table(given, GIVEN), end="\n\n")
    print(table([*claims["N3"], *claims["N4"][-2:]], EXPLICIT), f"Written: {target.relative_to(ROOT)}", sep="\n\n")
