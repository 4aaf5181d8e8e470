"""The answer that a report opens with, in two sentences, and which of its notes come before the numbers."""

from __future__ import annotations

import math

from bnlens.measure._estimate import Estimate
from bnlens.measure._results import LayerResult, Note, ReportData, listed
from bnlens.render import number

__all__ = ["answer", "command", "noted", "warnings_first"]

_MOST_LAYERS = 3
_ENOUGH = 0.8  # of the gap: no further layer is named

# Of notes; kinds that are in neither list come after the first and before the numbers.
_HEAVIEST = (
    "not finite",
    "random weights",
    "stale statistics",
    "negative gap",
    "few samples",
    "loader's batches",
    "no law",
    "prediction",
)
_RECALIBRATE = "bnlens.recalibrate(model, loader)"
_COMMANDS = {
    "not finite": _RECALIBRATE,
    "initial statistics": _RECALIBRATE,
    "fixed statistics": _RECALIBRATE,
    "train mode": "model.eval()",
    "random weights": "model.load_state_dict(torch.load(FILE)), or --checkpoint FILE",
    "stale statistics": _RECALIBRATE,
    "few samples": "bnlens.report(model, loader, loss_fn, max_samples=P)",
    "loader's batches": "torch.utils.data.DataLoader(dataset, batch_size, shuffle=True)",
    "moving statistics": "bnlens.freeze(layer)",
}
_AFTER_THE_NUMBERS = (
    "frozen",
    "shared layer",
    "dead channels",
    "weight decay",
    "streamed",
    "coupled loss",
    "beyond first order",
)


def answer(report: ReportData) -> str:
    """Return what BN adds to the loss at the smallest M, which layers carry it, and what it would be at half and twice M."""
    size = report.statistics_batch_sizes[0]
    gap = report.network.gaps.measured[size]
    if not abs(gap.value) > 3 * gap.stderr:
        doubt = "; there are too few groups to know its error" if math.isnan(gap.stderr) else ", which may be nothing"
        first = f"BN at M = {size} changes the training loss of {report.model} by {gap} nats per sample{doubt}"
    else:
        verb, amount = ("adds", gap) if gap.value > 0 else ("takes", gap * -1)
        way = "to" if gap.value > 0 else "off"
        first = (
            f"BN at M = {size} {verb} {amount} nats per sample {way} the training loss of {report.model}"
            f"{_part_of_loss(gap, report.network.population_loss)}{_carriers(report, size)}"
        )
    return " ".join([f"{first}.", *_elsewhere(report, size)])


def warnings_first(report: ReportData) -> tuple[list[Note], list[Note]]:
    """Return the notes that say what is wrong, the weightiest first, and those that only explain."""

    def weight(note: Note) -> tuple[int, bool]:
        order = _HEAVIEST.index(note.kind) if note.kind in _HEAVIEST else len(_HEAVIEST)
        return order, bool(note.place)  # what the network loses by it, before the layers

    later = [note for note in report.notes if note.kind in _AFTER_THE_NUMBERS]
    return sorted((note for note in report.notes if note not in later), key=weight), later


def command(note: Note) -> str | None:
    """Return the command that mends what a note is about, if there is one."""
    return _COMMANDS.get(note.kind)


def noted(note: Note) -> str:
    """Return the text of a note after the layers that it is about."""
    return f"{note.place}: {note.text}" if note.place else note.text


def _part_of_loss(gap: Estimate, loss: Estimate) -> str:
    if not loss.value > 0:  # a log density
        return ""
    return f", {_per_cent(abs(gap.value) / loss.value)} of the {loss} nats that it is with population statistics"


def _carriers(report: ReportData, size: int) -> str:
    parts = [(layer, report.share_of_gap(layer, size)) for layer in report.layers]
    found: list[tuple[LayerResult, Estimate]] = [(layer, part) for layer, part in parts if part is not None]
    if not found:
        return ""
    carrying = sorted((p for p in found if p[1].value > 3 * p[1].stderr), key=lambda p: -p[1].value)[:_MOST_LAYERS]
    if not carrying:
        return "; no layer's share of it stands out of its error"
    named, total = [], 0.0
    for layer, part in carrying:
        named.append(f"{layer.name} ({_per_cent(part.value)})" if len(carrying) > 1 else layer.name)
        total += part.value
        if total >= _ENOUGH:
            break
    verb = "carries" if len(named) == 1 else "carry"
    if len(named) == 1:
        return f"; {carrying[0][0].name} {verb} {_per_cent(total)} of it"
    among = f", of {len(found)} layers," if len(found) > len(named) else ""
    return f"; {listed(named)}{among} {verb} {_per_cent(total)} of it"


def _elsewhere(report: ReportData, size: int) -> list[str]:
    """Return the sentences about half and twice M, in the pool at hand as everything in a report."""
    gaps = report.network.gaps
    measured, predicted, unknown = [], [], []
    for other in (size // 2, 2 * size):
        if other < 2 or other > report.samples // 2:
            continue
        value = gaps.predicted(other, population=gaps.population)
        if other in gaps.measured:
            measured.append(f"{gaps.measured[other]} nats at M = {other}")
        elif value is None or not gaps.has_law(other):
            unknown.append(str(other))
        else:
            predicted.append(f"{_band(value)} nats at M = {other}")
    sentences = []
    if predicted:
        sentences.append(f"It would be {' and '.join(predicted)} (predicted, within two standard errors).")
    if measured:
        sentences.append(f"It is {' and '.join(measured)} (measured).")
    if unknown:
        sentences.append(f"No law says what it would be at M = {' or '.join(unknown)}: measure there.")
    return sentences


def _band(estimate: Estimate) -> str:
    """Return two standard errors to either side, rounded to two digits of that error."""
    if not estimate.stderr > 0:
        return number(estimate.value)
    width = 2 * estimate.stderr
    decimals = 1 - math.floor(math.log10(width))
    ends = [estimate.value - width, estimate.value + width]
    low, high = (f"{end:.{decimals}f}" if 0 <= decimals <= 6 else number(round(end, decimals)) for end in ends)
    return f"{low} to {high}"


def _per_cent(part: float) -> str:
    """Return a part in per cent, with two digits.

    >>> _per_cent(0.00312), _per_cent(1.234), _per_cent(-0.125)
    ('0.31%', '120%', '-12%')
    """
    return f"{number(float(f'{100 * part:.2g}'))}%"
