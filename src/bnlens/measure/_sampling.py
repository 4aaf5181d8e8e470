"""Gaps, shares and the law of the groups in one batch of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnlens._ranks import gather
from bnlens.measure._collect import CallNoise, Kept
from bnlens.measure._groups import Perturbation, by_group, ghost_handler, mirrored_handler, perturbation, spread
from bnlens.measure._nodes import CallGradients, Node, Watch, node, standardise
from bnlens.measure._pool import Batch, even
from bnlens.measure._population import Populations, population_handler
from bnlens.measure._probe import Probe
from bnlens.measure._quadrature import Residual, enough_nodes, lobatto

__all__ = ["Groups", "LawGroups", "Sampler", "ZeroNode"]

_Moved = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Groups:
    """Groups of one size in one batch, k of them, with L calls of BN layers; float64, nats per sample, on the CPU.

    A loss that couples the samples of the batch makes one value of all its groups: k is 1, and controls have no column.

    Attributes:
        gaps: mean loss with the group's own statistics less that with population statistics, (k,).
        controls: per call, (mean gradient) . (mean noise) of the group, both under population statistics, (k, L); None if
            the gap alone was asked for.
        shares: the gap split among the calls, (k, L); their sum is the gap up to the error of the quadrature.
        place: round and number of the batch.
    """

    gaps: Tensor
    controls: Tensor | None = None
    shares: Tensor | None = None
    place: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class LawGroups:
    """The expansion of theory sheet D.2 for k groups: eps of each is mirrored.

    Attributes:
        quadratic: (loss(eps) + loss(-eps) - 2 loss(0)) / 2, averaged over the group's samples, (k,).
        linear: mean over the group's samples of g_j . eps, summed over the active calls, (k,).
        controls: of the active calls, see `Groups`.
        recorded: eps of each group by call, on the CPU, where it is kept for the Fisher matrix.
    """

    quadratic: Tensor
    linear: Tensor
    controls: Tensor
    recorded: Mapping[str, Perturbation] = field(default_factory=dict)


@dataclass(frozen=True)
class ZeroNode:
    """A batch under population statistics: losses, gradients and noise of each sample.

    Attributes:
        result: losses and gradients.
        moved: v of `CallNoise` by call name; empty where the loss couples the samples, whose controls have an expectation
            that is not known.
        found: controls by size.
    """

    result: Node
    moved: Mapping[str, Tensor]
    found: dict[int, Tensor] = field(default_factory=dict)

    def controls(self, size: int) -> Tensor:
        """Return the controls of `Groups` for the groups of ``size`` that the batch has, (k, L)."""
        if size in self.found:
            return self.found[size]
        if not self.moved:
            return torch.zeros(1, 0, dtype=torch.float64)
        columns, samples = [], len(self.result.losses)
        rows = samples - samples % size
        for name, noise in self.moved.items():
            gradients = self.result.given.get(name)
            if gradients is None:
                columns.append(noise.new_zeros(rows // size))
                continue
            gradient, moved = (by_group(values[:rows], size) for values in (gradients.stacked, noise))
            columns.append((gradient * moved).sum(1))
        self.found[size] = torch.stack(columns, dim=1).double().cpu()
        return self.found[size]


@dataclass(frozen=True)
class _Line:
    """The line from population statistics to those of the groups of one batch: gaps, eps by call, and the work at its ends."""

    batch: Batch
    gaps: Tensor
    record: Mapping[str, Perturbation]
    ends: tuple[Tensor, Tensor]


@dataclass
class Sampler:
    """Runs batches; L calls of BN layers.

    Attributes:
        probe: the model on its samples.
        populations: population statistics of all calls.
        nodes: of the quadrature, by group size; see `choose_nodes`.
        losses_of_all: under population statistics, (P,); None where they are not these samples' in every pass.
        kept: gradients and noise of each sample; None where each batch is to find its own.
    """

    probe: Probe
    populations: Populations
    nodes: dict[int, int] = field(default_factory=dict)
    losses_of_all: Tensor | None = None
    kept: Kept | None = None

    def zero(self, batch: Batch) -> ZeroNode:
        """Return a batch under population statistics, from what is kept or by a pass forward and backward."""
        if self.kept is not None and batch.indices is not None:
            return self._recalled(self.kept, batch.indices, self.losses(batch))
        seen: dict[str, list[Tensor]] = {}

        def watch(name: str, h: Tensor, gamma: Tensor) -> None:
            population = self.populations[name]
            noise = CallNoise.of(standardise(h, population), population, gamma, self.probe.average(population.count))
            seen.setdefault(name, []).append(noise.moved)

        result = self._node(batch) if self.probe.loss.couples else self._node(batch, watch=watch)
        return ZeroNode(result, {name: torch.cat(parts) for name, parts in seen.items()})

    def _recalled(self, kept: Kept, indices: Tensor, losses: Tensor) -> ZeroNode:
        device = {name: self.populations[name].mean.device for name in kept.moved}
        given = {name: g[indices].to(device[name]).chunk(2, dim=1) for name, g in kept.given.items()}
        gradients = {name: CallGradients(beta, gamma) for name, (beta, gamma) in given.items()}
        moved = {name: values[indices].to(device[name]) for name, values in kept.moved.items()}
        return ZeroNode(Node(losses, gradients, {}), moved)

    def _node(self, batch: Batch, moved: _Moved | None = None, watch: Watch = lambda name, h, gamma: None) -> Node:
        """Run `node`, in as many parts as a backward pass takes, with (shift, scale) of each sample by call, (N, C) each."""
        parts = []
        for rows in even(batch.size, self.probe.graph_rows or batch.size):
            start, stop = int(rows[0]), int(rows[-1]) + 1

            def move(
                name: str, h: Tensor, gamma: Tensor, rows: slice = slice(start, stop)
            ) -> tuple[Tensor, Tensor] | None:
                return None if moved is None else (moved[name][0][rows], moved[name][1][rows])

            parts.append(node(self.probe, batch.part(start, stop), self.populations, move=move, watch=watch))
        return Node.joined(parts)

    def losses(self, batch: Batch) -> Tensor:
        """Return the losses under population statistics, (N,)."""
        if self.losses_of_all is not None and batch.indices is not None:
            return self.losses_of_all[batch.indices]
        return self.probe.losses(batch, population_handler(self.populations))

    def gaps(
        self,
        batch: Batch,
        size: int,
        losses: Tensor,
        active: Collection[str] | None = None,
        *,
        watch: Callable[[Tensor], None] = lambda output: None,
    ) -> Tensor:
        """Return the gap of each group of ``size``, (k,), by one forward pass.

        Args:
            batch: N samples.
            size: of a group.
            losses: under population statistics, (N,).
            active: the calls on group statistics; None for all.
            watch: is given the outputs of all full groups.
        """
        rows = batch.size - batch.size % size
        calls = self.populations if active is None else active
        handler = ghost_handler(self.populations, calls, size, self.probe.rows)
        return self._independent(self.probe.losses(batch.head(rows), handler, watch) - losses[:rows], size)

    def _independent(self, values: Tensor, size: int) -> Tensor:
        """Return the mean over each ``size`` rows of ``values``; over all of them, where the loss couples the batch."""
        return by_group(values, len(values) if self.probe.loss.couples else size)

    def shares(self, batch: Batch, size: int, zero: ZeroNode) -> Groups:
        """Return gaps, controls and shares of the groups of ``size``.

        A pass forward and backward for each node after t = 0; the one at t = 1 is the group with its own statistics.
        """
        line = self._line(batch, size, zero)
        return Groups(line.gaps, zero.controls(size), self._shares(line, size, self.nodes[size]))

    def choose_nodes(self, passes: Sequence[tuple[Batch, ZeroNode]], size: int) -> list[tuple[int, Groups]]:
        """Take as many nodes for groups of ``size`` as those of some batches, of all ranks, ask for; all ranks call it.

        Returns:
            The groups, with shares by these nodes, and the numbers of their batches.
        """
        fits = [(batch, zero, self._line(batch, size, zero)) for batch, zero in passes if batch.size >= size]
        gaps = [line.gaps for _, _, line in fits]
        shares: dict[int, list[Tensor]] = {}

        def residual(nodes: int) -> Residual:
            shares[nodes] = [self._shares(line, size, nodes) for _, _, line in fits]
            left = [gap - found.sum(1) for gap, found in zip(gaps, shares[nodes], strict=True)]
            return Residual.of(int(_over_ranks(map(len, gaps))), *_sums(left), *_sums(gaps))

        self.nodes[size] = enough_nodes(residual)
        found = zip(fits, shares[self.nodes[size]], strict=True)
        return [(b.number, Groups(line.gaps, zero.controls(size), parts)) for (b, zero, line), parts in found]

    def _line(self, batch: Batch, size: int, zero: ZeroNode) -> _Line:
        rows = batch.size - batch.size % size
        batch = batch.head(rows)
        record: dict[str, Perturbation] = {}
        if batch.size <= self.probe.graph_rows or not self.probe.graph_rows:

            def to_group(name: str, h: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
                record[name] = perturbation(h, size, self.populations[name], gamma, self.probe.rows.counts)
                return spread(record[name], size)

            end = node(self.probe, batch, self.populations, move=to_group)
        else:  # what a group does to its samples is known from a forward pass; then they need not go together
            self.probe.losses(batch, ghost_handler(self.populations, self.populations, size, self.probe.rows, record))
            end = self._node(batch, {name: spread(moved, size) for name, moved in record.items()})
        gaps = self._independent(end.losses - zero.result.losses[:rows], size)
        ends = _work(zero.result.given, record, size), _work(end.given, record, size)
        return _Line(batch, gaps, record, ends)

    def _shares(self, line: _Line, size: int, nodes: int) -> Tensor:
        (_, first), *inner, (_, last) = lobatto(nodes)
        total = first * line.ends[0] + last * line.ends[1]
        for t, weight in inner:
            between = self._node(line.batch, {name: spread(moved, size, t) for name, moved in line.record.items()})
            total = total + weight * _work(between.given, line.record, size)
        return self._independent(total, 1)

    def law(self, batch: Batch, size: int, zero: ZeroNode, active: Sequence[str], *, keep: bool = False) -> LawGroups:
        """Return the expansion for groups of ``size`` with the calls ``active`` on group statistics, by two forward passes.

        A BN net on a group computes exactly what the PN net does at (beta, gamma) + eps. So one forward pass with the
        group's statistics gives loss(eps), and one with the mirrored perturbation gives loss(-eps); no derivative is
        taken, so kinks count in full.
        """
        rows = batch.size - batch.size % size
        batch = batch.head(rows)
        record: dict[str, Perturbation] = {}
        plus = self.probe.losses(batch, ghost_handler(self.populations, active, size, self.probe.rows, record))
        minus = self.probe.losses(batch, mirrored_handler(self.populations, record, size, self.probe.rows))
        quadratic = by_group((plus + minus) / 2 - zero.result.losses[:rows], size)
        linear = _work(zero.result.given, record, size).sum(1)
        index = [list(self.populations).index(name) for name in active]
        kept = {n: Perturbation(p.shift.cpu(), p.scale.cpu()) for n, p in record.items()} if keep else {}
        return LawGroups(quadratic, linear, zero.controls(size)[:, index], kept)


def _over_ranks(terms: Iterable[float]) -> float:
    return math.fsum(gather(math.fsum(terms)))


def _sums(parts: Iterable[Tensor]) -> tuple[float, float]:
    """Return the sum and that of the squares, over all ranks."""
    parts = list(parts)
    return _over_ranks(float(part.sum()) for part in parts), _over_ranks(float(part.square().sum()) for part in parts)


def _work(gradients: Mapping[str, CallGradients], record: Mapping[str, Perturbation], size: int) -> Tensor:
    """Return eps . (mean gradient of the group) per call of ``record``, (k, calls), float64, on the CPU."""
    columns = []
    for name, moved in record.items():
        rows = len(moved.shift) * size
        if name not in gradients:
            columns.append(moved.shift.new_zeros(len(moved.shift)))
            continue
        beta, gamma = (by_group(g[:rows], size) for g in (gradients[name].beta, gradients[name].gamma))
        columns.append((moved.shift * beta + moved.scale * gamma).sum(1))
    return torch.stack(columns, dim=1).double().cpu()
