"""The groups that were run, and the estimates that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bnlens.measure._control import gain, influence, joined, split, with_control
from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._sampling import Groups, LawGroups

__all__ = ["LawTally", "Tally", "covariance", "widening"]

_UNKNOWN = 4  # blocks that a correlation over blocks does not know anything from


@dataclass
class Tally:
    """Groups of one size.

    Attributes:
        expectation: of the control of each call, (L,).
        widening: of standard errors; see `widening`.
        split: groups with controls and shares, batch by batch.
        controlled: groups with controls and without shares.
        light: groups with their gaps alone.
    """

    expectation: Tensor
    widening: float = 1.0
    split: list[Groups] = field(default_factory=list)
    controlled: list[Groups] = field(default_factory=list)
    light: list[Groups] = field(default_factory=list)

    def add(self, groups: Groups, place: tuple[int, int] = (0, 0)) -> None:
        """Add the groups of one batch; ``place`` is its round and its number there."""
        groups = replace(groups, place=place)
        if groups.controls is None:
            self.light.append(groups)
        else:
            (self.controlled if groups.shares is None else self.split).append(groups)

    @property
    def count(self) -> int:
        """How many groups there are."""
        return _count((*self.split, *self.controlled, *self.light))

    @property
    def split_count(self) -> int:
        """How many of them have shares."""
        return _count(self.split)

    def gap(self) -> Estimate:
        """Return the mean gap."""
        return _widened(joined(*self._all()), self.widening)

    def influence(self, size: int, block: int) -> dict[tuple[int, int, int], float]:
        """Return how much each ``block`` of rows of each batch, in groups of ``size``, moves `gap`."""
        found: dict[tuple[int, int, int], float] = {}
        for parts, moved in zip(((*self.split, *self.controlled), self.light), influence(*self._all()), strict=True):
            for groups, own in zip(parts, torch.split(moved, [len(part.gaps) for part in parts]), strict=True):
                for number, value in enumerate(own.tolist()):
                    place = (*groups.place, number * size // block)
                    found[place] = found.get(place, 0.0) + value
        return found

    def gain(self) -> float:
        """Return how many groups without controls one with them is worth."""
        return gain(*self._controlled((*self.split, *self.controlled)))

    def shares(self, gap: Estimate | None = None) -> list[Estimate]:
        """Return the share of each call and, last, what the quadrature leaves; their sum is ``gap``, by default `gap`."""
        gaps, controls = self._controlled(self.split)
        shares = torch.cat([groups.shares for groups in self.split if groups.shares is not None])
        left = (gaps - shares.sum(1)).unsqueeze(1)
        whole = _widened(gap or self.gap(), 1 / self.widening)
        found = split(torch.cat([shares, left], dim=1), gaps, controls, whole)
        return [_widened(share, self.widening) for share in found]

    def _all(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return gaps and controls of the groups that have both, and the gaps of the others."""
        light = [groups.gaps for groups in self.light]
        more = torch.cat(light) if light else torch.zeros(0, dtype=torch.float64)
        return *self._controlled((*self.split, *self.controlled)), more

    def _controlled(self, parts: Sequence[Groups]) -> tuple[Tensor, Tensor]:
        gaps = torch.cat([groups.gaps for groups in parts])
        controls = torch.cat([groups.controls for groups in parts if groups.controls is not None])
        return gaps, controls - self.expectation


@dataclass
class LawTally:
    """Groups of M0 with one set of calls on group statistics.

    Attributes:
        expectation: of the controls of these, (calls,).
        widening: of standard errors; see `widening`.
        groups: batch by batch.
    """

    expectation: Tensor
    widening: float = 1.0
    groups: list[LawGroups] = field(default_factory=list)

    def quadratic(self) -> Estimate:
        """Return the antithetic second order."""
        return _widened(mean_estimate(self._column("quadratic")), self.widening)

    def linear(self) -> Estimate:
        """Return the linear part, eps . (mean gradient)."""
        return self._controlled(self._column("linear"))

    def gap(self) -> Estimate:
        """Return the gap: second order and linear part."""
        return self._controlled(self._column("quadratic") + self._column("linear"))

    def _column(self, name: str) -> Tensor:
        return torch.cat([getattr(groups, name) for groups in self.groups])

    def _controlled(self, values: Tensor) -> Estimate:
        return _widened(with_control(values, self._column("controls") - self.expectation), self.widening)


def widening(size: int, samples: int) -> float:
    """Return the most by which groups of ``size``, as many as a shuffle of the samples makes, err beyond independent ones.

    Drawn without replacement, two groups have means that correlate by -M / (P - M). What is linear in these averages out the
    faster; the gap is quadratic in them, and correlates by the square of that: two halves of the samples have one gap.
    """
    return math.sqrt(1 + (samples // size - 1) * (size / (samples - size)) ** 2)


def _widened(found: Estimate, factor: float) -> Estimate:
    return Estimate(found.value, found.stderr * factor)


def covariance(tallies: Mapping[int, Tally]) -> tuple[tuple[float, ...], ...]:
    """Return that of the gaps of several sizes, in ascending order.

    Groups of different sizes share the samples of a batch. Their correlation is that of what each block of rows, as many as
    the largest group has, does to the two gaps, taken for less where blocks are few; the variances are those of `Tally.gap`.
    """
    sizes = sorted(tallies)
    errors = [tallies[size].gap().stderr for size in sizes]
    moved = [tallies[size].influence(size, sizes[-1]) for size in sizes]
    norms = [math.sqrt(math.fsum(value * value for value in own.values())) for own in moved]

    def entry(i: int, j: int) -> float:
        if i == j:
            return errors[i] ** 2
        both = moved[i].keys() & moved[j].keys()
        product = math.fsum(moved[i][place] * moved[j][place] for place in both)
        known = max(0.0, 1 - _UNKNOWN / len(both)) if both else 0.0
        return known * product / (norms[i] * norms[j]) * errors[i] * errors[j] if norms[i] * norms[j] else 0.0

    return tuple(tuple(entry(i, j) for j in range(len(sizes))) for i in range(len(sizes)))


def _count(parts: Sequence[Groups]) -> int:
    return sum(len(groups.gaps) for groups in parts)
