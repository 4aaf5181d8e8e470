"""The report: what `bnlens.report` returns."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, overload

from bnlens._arguments import AtLeastTwo, Range, checked
from bnlens._files import write_atomic
from bnlens.errors import UsageError
from bnlens.measure._predictions import Prediction, Predictions, predict
from bnlens.measure._results import NETWORK, ReportData
from bnlens.measure._serial import from_json, from_text, to_json
from bnlens.measure._text import LEAST_WIDTH, report_text

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure
    from rich.console import Console, ConsoleOptions, RenderResult

    from bnlens.measure._compare import Comparison

__all__ = ["Prediction", "Predictions", "Report"]


@dataclass(frozen=True)
class Report(ReportData):
    """The regularisation of a network by batch normalization, measured and predicted; made by ``bnlens.report``.

    The gap of M is the mean loss with the batch statistics of groups of M samples less that with population statistics, at
    fixed weights, in nats per sample. ``repr`` is `table` for the width of the terminal, a notebook shows tables.

    Attributes:
        model: class name of the model.
        layers: one result per call of a BN layer, in the order of execution.
        network: all layers at once.
        notes: what the user may not know about the model.
        statistics_batch_sizes: the M at which gaps were measured.
        prediction_batch_size: M0, the group size that the theory's values and the outputs' noise are of.
        samples: P, samples in the pool, which is the population.
        rounds: shuffles of the pool that were made.
        likelihood: the likelihood behind the Fisher terms, or None.
        population_passes: passes over the pool until the population statistics no longer changed.
        seed: seed of the groups and of the curvature draws.
        seconds: duration.
        version: of bnlens.
        created: ISO 8601 time, UTC.
        precision: asked for, standard error over gap; None where ``rounds`` was given.
        stopped: what ended it: ``"precision"``, ``"rounds"``, ``"seconds"``, or ``"samples"`` (64 shuffles without the
            precision asked for).
        groups: by M, how many groups were run.
    """

    def __repr__(self) -> str:
        return report_text(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the text for ``rich.print``, for the width at hand."""
        from rich.text import Text

        yield Text(report_text(self, width=options.max_width))

    def _repr_html_(self) -> str:
        from bnlens.measure._html import report_fragment

        return report_fragment(self)

    @checked
    def table(self, *, verbose: bool = False, width: Annotated[int, Range(LEAST_WIDTH)] | None = None) -> str:
        """Return the report as text: what BN does to the loss, what is wrong, the gaps, and the share of each layer.

        Args:
            verbose: with the other predictions, the inputs of each layer, and all columns, in several tables where one would be
                wider; without, tables leave out the columns that do not fit.
            width: of the text in characters, at least 40; None: that of the terminal, up to 120, and 80 where there is none.

        Raises:
            UsageError: ``width`` is below 40.
        """
        return report_text(self, verbose=verbose, width=width)

    @overload
    def predict(
        self, statistics_batch_size: int, *, kind: str | None = None, population: int | None = None
    ) -> Prediction: ...
    @overload
    def predict(
        self, statistics_batch_size: Iterable[int], *, kind: str | None = None, population: int | None = None
    ) -> Predictions: ...
    @checked
    def predict(
        self,
        statistics_batch_size: AtLeastTwo | Iterable[AtLeastTwo],
        *,
        kind: str | None = None,
        population: AtLeastTwo | None = None,
    ) -> Prediction | Predictions:
        """Predict the gaps at another statistics batch size, never from groups of that size.

        Args:
            statistics_batch_size: M, at least 2, or several.
            kind: ``"curve"``, the default: a f + b f^2 through the gaps at the nearest sizes, f the variance of a batch mean;
                ``"logits"``, ``"first_order"`` or ``"fisher"``, if the report was asked for them; ``"two_term"``, the
                paper's value. docs/prediction.md says how far to trust each.
            population: number of samples that the training set holds, if batches are drawn from it without replacement; the
                variance is then (P - M) / (M (P - 1)). None means fresh samples: 1 / M.

        Returns:
            One prediction, or for several M all of them, with a frame and a figure.

        Raises:
            UsageError: M is below 2 or above the population, ``kind`` is unknown, or the report has no such prediction.
        """
        if not isinstance(statistics_batch_size, Iterable):
            return predict(self, statistics_batch_size, kind, population)
        points = tuple(predict(self, size, kind, population) for size in statistics_batch_size)
        if not points:
            raise UsageError("statistics_batch_size is empty; give at least one M")
        return Predictions(points, self.network.gaps, population)

    def to_frame(self) -> pd.DataFrame:
        """Return all numbers: a row per layer and M, the network's under ``(network)``; see `bnlens.measure` for columns."""
        from bnlens.measure._frame import report_frame

        return report_frame(self)

    @checked
    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as JSON text, also written to ``path`` if given.

        Raises:
            StoreError: ``path`` cannot be written.
        """
        text = to_json(self)
        if path is not None:
            write_atomic(path, text)
        return text

    @classmethod
    @checked
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """Read a report written by ``to_json``.

        Raises:
            StoreError: the file is missing, is not a report, or was written by a newer bnlens.
        """
        return from_json(cls, path)

    @classmethod
    @checked
    def loads(cls, text: str, *, name: str = "the text") -> Report:
        """Read a report from the text that ``to_json`` returns; it is parsed as data and nothing in it is run.

        Args:
            text: JSON.
            name: what errors call it.

        Raises:
            StoreError: the text is not a report, is damaged, or was written by a newer bnlens.
        """
        return from_text(cls, text, name)

    @checked
    def plot(self, layer: str | None = None) -> Figure:
        """Return a Plotly figure of the gap over M, points measured and curves predicted.

        Args:
            layer: name of a layer; None for the whole network.

        Raises:
            UsageError: there is no such layer, or its gaps were not asked for.
        """
        from bnlens.measure._figures import gap_by_size

        gaps = self[NETWORK if layer is None else layer].gaps
        if gaps is None:
            raise UsageError(f"the report has no gaps of layer {layer!r}; make one with alone=True")
        return gap_by_size(gaps)

    @checked
    def savefig(self, path: str | os.PathLike[str], layer: str | None = None) -> None:
        """Write the figure of `plot` as a picture, with matplotlib or kaleido, whichever is installed.

        Args:
            path: of the file; .png, .svg or .pdf says the format.
            layer: name of a layer; None for the whole network.

        Raises:
            UsageError: as `plot`; the suffix is another one; or neither package is there, or kaleido finds no browser.
            StoreError: ``path`` cannot be written.
        """
        from bnlens import render

        name = f"Batch normalization in {self.model}" + ("" if layer is None else f", {layer}")
        render.save_picture(self.plot(layer), path, title=name)

    @checked
    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as one self-contained HTML file with figures, which works offline; also written to ``path``.

        Raises:
            StoreError: ``path`` cannot be written.
        """
        from bnlens.measure._html import report_page

        text = report_page(self)
        if path is not None:
            write_atomic(path, text)
        return text

    @checked
    def compare(self, other: Report) -> Comparison:
        """Return differences to another report (this one less the other), layer by layer, at the batch sizes both measured."""
        from bnlens.measure._compare import compare

        return compare(self, other)
