"""Lab: a saved report of the reader's own network, turned to another batch size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from bnlens.errors import StoreError, UsageError
from bnlens.labs._lab import IncompleteError, Lab, State, Step
from bnlens.labs._parameters import Choice, Reference, Whole
from bnlens.labs._result import Headline, Result, call
from bnlens.render import number

if TYPE_CHECKING:
    from bnlens.measure import Prediction, Report

__all__ = ["Library", "make_lab"]

_HOW = (
    "There is no report yet. Make one with report = bnlens.report(model, loader, loss) and "
    "report.to_json('bnlens-out/net.json'), or with bnlens report --json, then load this page again; or send a file below."
)
_HEADINGS = {
    "layer": "Layer",
    "predicted": "Predicted, fresh samples",
    "predicted in the pool": "Predicted, in the pool",
    "measured": "Measured, in the pool",
    "measured_at": "Measured at M",
    "share": "Share",
}


class Library(Protocol):
    """A source of reports."""

    def names(self) -> Mapping[str, str]:
        """Return the reports that can be opened, newest first, with labels."""

    def load(self, name: str) -> Report:
        """Return a report by name."""

    def stamp(self, name: str) -> Hashable:
        """Return a value that changes when the report does."""


def make_lab(library: Library) -> Lab:
    """Return the lab over the reports of a library."""

    def compute(state: State) -> Result:
        name = state["report"]
        if not name:
            newest = next(iter(library.names()), None)
            if newest is None:
                raise IncompleteError(_HOW)
            raise IncompleteError("Choose a report.", {"report": newest})
        try:
            return _result(library.load(name), state)
        except StoreError as error:
            raise UsageError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error

    return Lab(
        id="network",
        title="Your network",
        question="How much does batch normalization regularise a network of yours, and how much at another batch size?",
        parameters=_PARAMETERS,
        compute=compute,
        formulas=_FORMULAS,
        examples=(),
        source="Theory sheet D; docs/report.md says what a report measures",
        grid=("report",),
        stamp=lambda state: library.stamp(state["report"]),
        options=library.names,
        lacking=lambda state: {"kind": _lacking(library.load(state["report"]))},
        receives=True,
    )


def _result(report: Report, state: State) -> Result:
    size = state["batch_size"]
    kind = report.network.gaps.kind if state["kind"] == "default" else state["kind"]
    prediction = report.predict(size, kind=kind)
    pool = report.network.gaps.population
    drawn = report.predict(size, kind=kind, population=pool) if size <= pool else None
    nearest = min(report.statistics_batch_sizes, key=lambda measured: abs(measured - size))
    measured = report.network.gaps.measured[nearest]
    rows = _rows(report, prediction, drawn, nearest)
    network, loss = prediction.network, report.network.population_loss
    unit = "nats per sample"
    sources = ", ".join(map(str, prediction.sizes))
    origin = f"predicted from groups of {sources} samples" if sources else "the paper's value"
    return Result(
        figure=report.predict([size], kind=kind).plot(),
        caption=(
            f"{report.model}: the gap of all {len(report.layers)} BN layers together. Points: measured, with standard errors. "
            f"Cross: at M = {size}, {origin}."
        ),
        description=(
            f"Line chart. At M = {size} the gap of the whole network is predicted at {number(network.value, network.stderr)} "
            f"nats per sample; measured at M = {nearest} it is {number(measured.value, measured.stderr)}."
        ),
        headlines=[
            Headline("predicted", f"Predicted at M = {size}, fresh samples", network.value, network.stderr, unit),
            *(
                Headline("predicted-pool", f"Predicted at M = {size}, in the pool", found.value, found.stderr, unit)
                for found in ([drawn.network] if drawn else [])
            ),
            Headline("measured", f"Measured at M = {nearest}, in the pool", measured.value, measured.stderr, unit),
            Headline("loss", "Loss with population statistics", loss.value, loss.stderr, unit),
        ],
        rows=rows,
        columns=_HEADINGS if len(rows) > 1 else {k: v for k, v in _HEADINGS.items() if k != "share"},
        table=f"Gap at M = {size} and each layer's share in it",
        code=_code(state, kind, nearest, pool if drawn else None),
        is_table_open=True,
        notes=[
            _words(size, nearest, pool, report.samples),
            *(
                ()
                if prediction.has_law
                else (f"The gaps at {sources} leave open what it is at M = {size}: measure there.",)
            ),
            *(
                ()
                if any(layer.share for layer in report.layers)
                else ("Gaps of single layers do not add up to the network's; a new report has shares, which do.",)
            ),
            *(f"{note.place or 'Network'}: {note.text}" for note in report.notes),
        ],
    )


def _words(size: int, nearest: int, pool: int, samples: int) -> str:
    """Return what the two predictions are, and which of them the measured gap is to be held against."""
    of = "samples" if pool == samples else f"of the {samples:,} samples"
    elsewhere = "" if nearest == size else f", but at M = {nearest}"
    beyond = " No batch of that size can be drawn from it." if size > pool else ""
    return (
        f"The report's batches are drawn without replacement from a pool of {pool:,} {of}: so is the measured gap, to be held "
        f"against the value in the pool{elsewhere}. Batches of fresh samples, as of a far larger training set, have more "
        f"noise: 1/M in place of (P − M)/(M(P − 1)), P = {pool:,}.{beyond}"
    )


def _lacking(report: Report) -> list[str]:
    """Return the predictions that a report does not have."""
    gaps, size = report.network.gaps, 2
    return [kind for kind in _LAWS if kind != "default" and gaps.predicted(size, cast("Any", kind)) is None]


def _code(state: State, kind: str, nearest: int, pool: int | None) -> str:
    size = state["batch_size"]
    lines = ["import bnlens", "", f'report = bnlens.Report.load("{_file(state)}")']
    lines += [
        *(
            f"print({call('report.predict', str(size), kind=kind, **more)}.to_frame().to_string())"
            for more in ({}, *([{"population": pool}] if pool else []))
        ),
        f"measured = report.network.gaps.measured[{nearest}]",
        "print(measured.value, measured.stderr, report.network.population_loss.value, report.network.population_loss.stderr)",
        "for layer in report.layers:",
        f"    for share in filter(None, [layer.share.get({nearest}) or layer.gaps and layer.gaps.measured[{nearest}]]):",
        "        print(layer.name, share.value, share.stderr)",
    ]
    return "\n".join(lines)


def _file(state: State) -> str:
    name = str(state["report"])
    return "report.json" if name.startswith("sent-") else name.replace("\\", "\\\\").replace('"', '\\"')


def _rows(report: Report, prediction: Prediction, drawn: Prediction | None, nearest: int) -> list[dict[str, Any]]:
    rows = []
    measured = {layer.name: layer.share.get(nearest) for layer in report.layers}
    measured |= {layer.name: layer.gaps.measured[nearest] for layer in report.layers if layer.gaps and not layer.share}
    estimates = {"(network)": prediction.network, **prediction.layers}
    for name, found in {"(network)": report.network.gaps.measured[nearest], **measured}.items():
        if found is not None:
            estimate, whole = estimates[name], prediction.network.value
            row = {"layer": name, "predicted": estimate.value, "predicted stderr": estimate.stderr}
            if drawn is not None:
                here = drawn.network if name == "(network)" else drawn.layers[name]
                row |= {"predicted in the pool": here.value, "predicted in the pool stderr": here.stderr}
            row |= {"measured": found.value, "measured stderr": found.stderr, "measured_at": nearest}
            rows.append(row | {"share": estimate.value / whole if whole else None})
    return rows


_DIAL = "The dial: images that one layer sees at once."
_LAWS = {
    "default": "Curve through other sizes",
    "logits": "Noise of the outputs",
    "first_order": "First-order law",
    "fisher": "First-order law, Fisher",
    "two_term": "Two-term (paper)",
}
_PARAMETERS = (
    Reference("report", "Report", "", r"^[^\x00-\x1f\x7f]*$", help="A file written by Report.to_json."),
    Whole("batch_size", "Statistics batch size", 64, 2, 65536, symbol="M", log=True, help=_DIAL),
    Choice("kind", "Prediction", "default", _LAWS, help="All but the first need a report that was asked for them."),
)

_FORMULAS = (
    Step(
        "A curve through the gaps at the nearest sizes that were measured, f being the variance of a batch mean: of M samples "
        "from a pool of P, or of fresh samples (1/M):",
        r"G(M) = a f + b f^2, \quad f = \frac{P - M}{M (P - 1)}",
    ),
    Step(
        "To train at that M in batches of m: bnlens.shared_statistics(model, images) around those of M images, or windows by "
        "bnlens.set_statistics_batch_size(model, M, device_batch_size=m)."
    ),
)
