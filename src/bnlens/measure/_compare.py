"""Two reports side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnlens.errors import UsageError
from bnlens.measure._estimate import Estimate
from bnlens.measure._layout import aligned
from bnlens.measure._results import NETWORK, ReportData
from bnlens.render import number

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["Comparison", "Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """The measured gap of the network, or one layer's share in it, in two reports, nats per sample.

    Attributes:
        layer: name, ``(network)`` for the whole.
        statistics_batch_size: M.
        first: gap or share in the first report.
        second: the same in the second.
    """

    layer: str
    statistics_batch_size: int
    first: Estimate
    second: Estimate

    @property
    def difference(self) -> Estimate:
        """First less second; the two are taken as independent."""
        return self.first - self.second

    @property
    def z(self) -> float:
        """Difference in units of its standard error; nan where that is zero (a layer of gamma = 0 in both)."""
        difference = self.difference
        return difference.value / difference.stderr if difference.stderr else math.nan


@dataclass(frozen=True)
class Comparison:
    """Differences of two reports; ``repr`` is a table.

    Attributes:
        differences: for the network and each layer that both have, at each M that both measured.
        only_first: layers that only the first report has.
        only_second: layers that only the second has.
        of_layers: what is compared of each layer: ``"shares"``, or ``"gaps of layers alone"`` where a report has no shares.
    """

    differences: tuple[Difference, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    of_layers: str = "shares"

    def __repr__(self) -> str:
        rows = [["layer", "M", "first", "second", "difference", "z"]]
        for d in self.differences:
            cells = [str(d.first), str(d.second), str(d.difference), number(round(d.z, 2))]
            rows.append([d.layer, str(d.statistics_batch_size), *cells])
        text = f"Measured gap and {self.of_layers}, nats per sample\n" + aligned(rows)
        for label, names in (("first", self.only_first), ("second", self.only_second)):
            if names:
                text += f"\nonly in the {label} report: {', '.join(names)}"
        return text

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer and M."""
        import pandas as pd

        return pd.DataFrame(
            {
                "layer": d.layer,
                "statistics_batch_size": d.statistics_batch_size,
                "first": d.first.value,
                "first_stderr": d.first.stderr,
                "second": d.second.value,
                "second_stderr": d.second.stderr,
                "difference": d.difference.value,
                "difference_stderr": d.difference.stderr,
            }
            for d in self.differences
        ).set_index(["layer", "statistics_batch_size"])


def compare(first: ReportData, second: ReportData) -> Comparison:
    """Compare measured gaps and shares.

    Raises:
        UsageError: the reports share no statistics batch size.
    """
    sizes = [size for size in first.statistics_batch_sizes if size in second.statistics_batch_sizes]
    if not sizes:
        raise UsageError(
            f"the reports measured different batch sizes ({first.statistics_batch_sizes} and "
            f"{second.statistics_batch_sizes}); make both with one common statistics_batch_size"
        )
    shares = all(layer.share for report in (first, second) for layer in report.layers)
    left, right = (_values(report, sizes, shares) for report in (first, second))
    names_left, names_right = ([name for name, _ in side] for side in (left, right))
    return Comparison(
        tuple(Difference(*key, left[key], right[key]) for key in left if key in right),
        tuple(dict.fromkeys(name for name in names_left if name not in names_right)),
        tuple(dict.fromkeys(name for name in names_right if name not in names_left)),
        "shares" if shares else "gaps of layers alone",
    )


def _values(report: ReportData, sizes: Sequence[int], shares: bool) -> dict[tuple[str, int], Estimate]:
    found = {(name, size): gaps.measured[size] for name, size, gaps in report.gap_rows(sizes)}
    if not shares:
        return found
    network = {key: gap for key, gap in found.items() if key[0] == NETWORK}
    return network | {(layer.name, size): layer.share[size] for layer in report.layers for size in sizes}
