"""The groups that were run, and the estimates that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnlens.measure._control import gain, joined, split, with_control
from bnlens.measure._estimate import Estimate
from bnlens.measure._sampling import Groups, LawGroups

__all__ = ["LawTally", "Tally"]


@dataclass
class Tally:
    """Groups of one size.

    Attributes:
        expectation: of the control of each call, (L,).
        split: groups with controls and shares, batch by batch.
        controlled: groups with controls and without shares.
        light: groups with their gaps alone.
    """

    expectation: Tensor
    split: list[Groups] = field(default_factory=list)
    controlled: list[Groups] = field(default_factory=list)
    light: list[Groups] = field(default_factory=list)

    def add(self, groups: Groups) -> None:
        """Add the groups of one batch."""
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
        light = [groups.gaps for groups in self.light]
        more = torch.cat(light) if light else torch.zeros(0, dtype=torch.float64)
        return joined(*self._controlled((*self.split, *self.controlled)), more)

    def gain(self) -> float:
        """Return how many groups without controls one with them is worth."""
        return gain(*self._controlled((*self.split, *self.controlled)))

    def shares(self) -> list[Estimate]:
        """Return the share of each call and, last, what the quadrature leaves; their sum is `gap`."""
        gaps, controls = self._controlled(self.split)
        shares = torch.cat([groups.shares for groups in self.split if groups.shares is not None])
        left = (gaps - shares.sum(1)).unsqueeze(1)
        return split(torch.cat([shares, left], dim=1), gaps, controls, self.gap())

    def _controlled(self, parts: Sequence[Groups]) -> tuple[Tensor, Tensor]:
        gaps = torch.cat([groups.gaps for groups in parts])
        controls = torch.cat([groups.controls for groups in parts if groups.controls is not None])
        return gaps, controls - self.expectation


@dataclass
class LawTally:
    """Groups of M0 with one set of calls on group statistics; ``expectation`` is of the controls of these, (calls,)."""

    expectation: Tensor
    groups: list[LawGroups] = field(default_factory=list)

    def quadratic(self) -> Tensor:
        """Return the antithetic second order of each group."""
        return torch.cat([groups.quadratic for groups in self.groups])

    def linear(self) -> Estimate:
        """Return the linear part, eps . (mean gradient)."""
        return with_control(torch.cat([groups.linear for groups in self.groups]), self._controls())

    def exact(self) -> Estimate:
        """Return the gap: second order and linear part."""
        linear = torch.cat([groups.linear for groups in self.groups])
        return with_control(self.quadratic() + linear, self._controls())

    def _controls(self) -> Tensor:
        return torch.cat([groups.controls for groups in self.groups]) - self.expectation


def _count(parts: Sequence[Groups]) -> int:
    return sum(len(groups.gaps) for groups in parts)
