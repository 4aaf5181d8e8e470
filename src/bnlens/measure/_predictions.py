"""Gaps at other batch sizes than those that a report measured."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnlens._names import did_you_mean
from bnlens.errors import UsageError
from bnlens.measure._estimate import Estimate
from bnlens.measure._layout import aligned
from bnlens.measure._results import KINDS, NETWORK, Gaps, ReportData

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["Prediction", "Predictions", "predict"]

_WHY = {
    "curve": "it measured at no other size",
    "logits": "it needs bnlens.report(..., logits=True) and at least two shuffles",
    "first_order": "it needs bnlens.report(..., first_order=True)",
    "fisher": "it needs bnlens.report(..., fisher=True) and a loss with a known likelihood (likelihood=)",
    "two_term": "the loss has no known likelihood (likelihood=)",
}


@dataclass(frozen=True)
class Prediction:
    """Gaps predicted at another statistics batch size, nats per sample, with standard errors.

    Errors of the curve have the error of the measurements that it goes through and that of the curve between and beyond them.
    Those of the other kinds are of the estimate at M0 alone, not of what their law leaves out.

    Attributes:
        statistics_batch_size: M.
        network: the whole network.
        layers: by name, each layer's share of it, in the proportions of the nearest measured M; each layer alone where the
            report has no shares.
        kind: ``"curve"``, ``"logits"``, ``"first_order"``, ``"fisher"`` or ``"two_term"``.
        sizes: the M whose groups it comes from; M itself is never among them.
        has_law: whether the curve says what the gap is, to a quarter of it. Where it does not, measure at M.
    """

    statistics_batch_size: int
    network: Estimate
    layers: dict[str, Estimate]
    kind: str
    sizes: tuple[int, ...] = ()
    has_law: bool = True

    def __repr__(self) -> str:
        return repr(Predictions((self,)))

    def to_frame(self) -> pd.DataFrame:
        """Return a row per layer and one of the network: ``predicted``, ``predicted_stderr``, ``has_law`` and ``sizes``."""
        return Predictions((self,)).to_frame().droplevel("statistics_batch_size")


@dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """Predictions at several batch sizes; ``repr`` is a table.

    Attributes:
        points: one for each M.
        gaps: what the network's come from; None without it.
        population: samples that a shuffled epoch draws from; None for fresh samples.
    """

    points: tuple[Prediction, ...]
    gaps: Gaps | None = None
    population: int | None = None

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> Prediction:  # type: ignore[override]
        return self.points[index]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.points)

    def __repr__(self) -> str:
        columns = [{NETWORK: point.network, **point.layers} for point in self]
        table = [["layer", *(f"M = {point.statistics_batch_size}" for point in self)]]
        table += [[name, *(str(column[name]) for column in columns)] for name in columns[0]]
        kind = self[0].kind
        lines = [f"Gap predicted{'' if kind == 'curve' else f' by {kind!r}'}, nats per sample", aligned(table)]
        for sizes in dict.fromkeys(point.sizes for point in self if point.sizes):
            targets = [str(point.statistics_batch_size) for point in self if point.sizes == sizes]
            lines.append(f"M = {', '.join(targets)}: from groups of {_listed(sizes)}")
        lines += [f"M = {p.statistics_batch_size}: no law here; measure there" for p in self if not p.has_law]
        return "\n".join(lines)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer and M, the network's under ``(network)``; see `Prediction.to_frame`."""
        import pandas as pd

        rows = [
            {
                "layer": name,
                "statistics_batch_size": point.statistics_batch_size,
                "predicted": estimate.value,
                "predicted_stderr": estimate.stderr,
                "has_law": point.has_law,
                "sizes": _listed(point.sizes),
            }
            for point in self
            for name, estimate in {NETWORK: point.network, **point.layers}.items()
        ]
        return pd.DataFrame(rows).set_index(["layer", "statistics_batch_size"])

    def plot(self) -> Figure:
        """Return a Plotly figure: the network's measured gaps, the curve with its band, and these predictions."""
        from bnlens.measure._figures import gap_by_size

        assert self.gaps is not None  # noqa: S101 - `predict` gives them
        name = "predicted, fresh samples" if self.population is None else f"predicted, {self.population:,} samples"
        return gap_by_size(self.gaps, {point.statistics_batch_size: point.network for point in self}, name)


def predict(report: ReportData, size: int, kind: str | None, population: int | None) -> Prediction:
    """Return the prediction at one M; errors are those of `Report.predict`."""
    if kind == "exact":
        warnings.warn("kind 'exact' is now called 'first_order'", DeprecationWarning, stacklevel=4)
        kind = "first_order"
    gaps = report.network.gaps
    if population is not None and population < size:
        raise UsageError(
            f"population is {population}, fewer samples than statistics_batch_size {size}; give the training set's"
        )
    if kind is not None and kind not in KINDS:
        raise UsageError(
            f"kind {kind!r} is not known; {did_you_mean(str(kind), KINDS, f'use one of {_listed(KINDS)}')}"
        )
    chosen = kind or gaps.kind

    def at(gaps: Gaps) -> Estimate:
        estimate = gaps.predicted(size, chosen, population=population)
        if estimate is None:
            raise UsageError(
                f"this report has no {chosen!r} prediction: {_WHY[chosen]}; make the report so, or use another kind"
            )
        return estimate

    network = at(gaps)
    nearest = min(report.statistics_batch_sizes, key=lambda measured: abs(math.log(measured / size)))
    # its error is in that of the share; over a gap of zero there is no proportion
    gap, layers = Estimate(gaps.measured[nearest].value, 0.0), {}
    for layer in report.layers:
        if nearest in layer.share:
            layers[layer.name] = network.times(layer.share[nearest].over(gap))
        elif layer.gaps is not None:
            layers[layer.name] = at(layer.gaps)
    point = gaps.curve(size, population=population) if chosen == "curve" else None
    if point is not None:
        return Prediction(size, network, layers, chosen, point.sizes, point.has_law)
    return Prediction(size, network, layers, chosen, () if chosen == "two_term" else (gaps.source,))


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
