"""Rounds of groups until the gaps are as precise as asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from bnlens._ranks import gather
from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._logits import OutputNoise
from bnlens.measure._pool import Batch
from bnlens.measure._ranks import agreeing, in_number_order
from bnlens.measure._sampling import Groups, LawGroups, Sampler
from bnlens.measure._tally import LawTally, Tally

__all__ = ["Goal", "Measurement"]

_PILOT = 8  # groups of the largest size say how many nodes the quadrature takes, up to three times as many of others
_FEWEST = 32  # groups, below which a standard error is not known well enough to stop on
_FEWEST_OTHERS = 12  # groups of a size that only predictions need
_FEWEST_OUTPUTS = 16  # rounds of them, if they are asked for
_FEWEST_SPLIT = 24  # groups with shares
_SHARES = 2.0  # times the precision of the gap is that of the shares, root mean square over the layers
_OTHERS = 1.5  # times the precision of the gap is that at sizes that only predictions need
_SMALL = 0.01  # of the loss: a gap below that need not be known better than one of that size
_BACKWARD = 2.6  # forward passes that a pass forward and backward costs
_GUESS = 8  # rounds that it may take, before anything is known
_MOST_ROUNDS = 64
_FEWEST_AS_LOADED = 4  # groups, or their spread says nothing


@dataclass(frozen=True)
class Goal:
    """When to stop.

    Attributes:
        rounds: after so many shuffles of the pool; None goes by the precision.
        precision: once the standard error of the network's gap at every M is below this part of the gap.
        deadline: or at this `time.perf_counter`, whichever is first; None for never.
    """

    rounds: int | None
    precision: float
    deadline: float | None

    @property
    def is_late(self) -> bool:
        """Whether the deadline is over."""
        return self.deadline is not None and time.perf_counter() >= self.deadline


@dataclass(frozen=True)
class _Plan:
    """Sizes whose groups get shares in a round; that need more gaps, with controls or not; and whether the law has a turn."""

    split: tuple[int, ...]
    controlled: tuple[int, ...] = ()
    light: tuple[int, ...] = ()
    law: bool = False


@dataclass(frozen=True)
class _Found:
    """The outcome of one batch.

    Attributes:
        network: groups by size, asked for or not.
        alone: by call and size.
        law: by call; None for the network.
        outputs: samples, and their outputs in groups of M0.
    """

    network: dict[int, Groups] = field(default_factory=dict)
    alone: dict[tuple[str, int], Groups] = field(default_factory=dict)
    law: dict[str | None, LawGroups] = field(default_factory=dict)
    outputs: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)


@dataclass
class Measurement:
    """Runs groups of every size, in rounds.

    A round shuffles the pool. Where gradients and noise of the samples are not kept, each of its batches first goes through the
    network under population statistics, forward and backward, which serves the controls of all sizes. Then come, for each
    size, the nodes of the shares. A size whose shares are known takes one forward pass from then on, until its gap is known,
    with controls where these are worth what they cost.

    Attributes:
        sampler: runs batches.
        losses: of all samples under population statistics, (P,); of batches, if the loss couples their samples.
        network: by M.
        others: by M, at sizes that only predictions need.
        law: by call name, and under None for the network, at ``source``; empty if not asked for.
        alone: by call name and M, those of ``others`` too.
        source: M0.
        goal: when to stop.
        shares: whether the gap is split among the layers.
        seed: of the shuffles.
        noise: takes the outputs of groups of M0, if asked for.
        keep: whether the perturbations of the law's groups are kept, for the Fisher matrix.
        show: is told the part that is done, 0 to 1, and a note.
        rounds: that were made.
        expected: rounds that it may take.
        note: the precision that is reached.
        stopped: the reason, see `bnlens.measure.Report`; empty while it runs.
        as_loaded: gap by M of groups of consecutive samples, see `bnlens.measure.NetworkResult`; empty until it stopped.
    """

    sampler: Sampler
    losses: torch.Tensor
    network: Mapping[int, Tally]
    others: Mapping[int, Tally]
    law: Mapping[str | None, LawTally]
    alone: Mapping[tuple[str, int], Tally]
    source: int
    goal: Goal = Goal(None, 0.05, None)
    shares: bool = True
    seed: int = 0
    noise: OutputNoise | None = None
    keep: bool = False
    show: Callable[[float, str], None] = lambda part, note: None
    rounds: int = 0
    expected: float = field(init=False)
    note: str = ""
    stopped: str = ""
    as_loaded: dict[int, Estimate] = field(default_factory=dict)

    def run(self) -> None:
        """Run rounds until the goal is met; at least one batch."""
        self.expected = float(_GUESS if self.goal.rounds is None else self.goal.rounds)
        if self.shares:
            self._choose_nodes()
        pool, rows = self.sampler.probe.pool, self.sampler.probe.batch_size
        batches = -(-len(pool) // rows)
        while not self.stopped:
            plan = self._plan()
            results = []
            for batch in pool.shuffled(rows, self._generator(self.rounds)):
                results.append((batch.number, self._batch(batch, plan)))
                self._show(self.rounds + (batch.number + 1) / batches)
                if self.goal.is_late and len(gather(None)) == 1:  # ranks stop together, after a round
                    break
            for number, found in enumerate(in_number_order(results)):
                self._add(found, (self.rounds, number))
            self.rounds += 1
            self._judge()
        if self.stopped != "seconds":
            self._run_outputs()
            self._run_as_loaded()

    def _run_outputs(self) -> None:
        """Run groups of M0 alone until there are outputs of enough rounds, if they are asked for."""
        pool, rows, number = self.sampler.probe.pool, self.sampler.probe.batch_size, self.rounds
        while self.noise is not None and len(self.noise.rounds) < _FEWEST_OUTPUTS and self.noise.wants(number):
            results = []
            for batch in pool.shuffled(rows, self._generator(number)):
                found = _Found()
                if batch.size >= self.source:
                    gaps = self._gaps(batch, self.source, self.sampler.losses(batch), found, number)
                    found.network[self.source] = Groups(gaps)
                results.append((batch.number, found))
            for place, found in enumerate(in_number_order(results)):
                self._add(found, (number, place))
            number += 1

    def _run_as_loaded(self) -> None:
        """Run groups of consecutive samples; with several ranks each of its own, as they would train."""
        sampler = self.sampler
        found: dict[int, list[tuple[int, torch.Tensor]]] = {size: [] for size in self.network}
        with agreeing():
            for size, gaps in found.items():
                for batch in sampler.probe.pool.shard(sampler.probe.batch_size, size):
                    gaps.append((batch.number, sampler.gaps(batch, size, sampler.losses(batch))))
        for size, gaps in found.items():
            each = torch.cat(in_number_order(gaps) or [torch.zeros(0)])
            if len(each) >= _FEWEST_AS_LOADED:
                self.as_loaded[size] = mean_estimate(each)

    def _choose_nodes(self) -> None:
        """Let some samples say how many nodes each size takes; their groups count where no number of rounds is given."""
        rows, sampler = self.sampler.probe.batch_size, self.sampler
        most = _PILOT * max(self.network)
        counts = {size: -(-min(most, 3 * _PILOT * size) // rows) for size in self.network}
        sweep = sampler.probe.pool.shuffled(rows, self._generator(-1))
        passes = [(batch, sampler.zero(batch)) for batch in sweep if batch.number < max(counts.values())]
        for size, count in counts.items():
            found = sampler.choose_nodes([(batch, zero) for batch, zero in passes if batch.number < count], size)
            for number, groups in enumerate(in_number_order(found)) if self.goal.rounds is None else ():
                self.network[size].add(groups, (-1, number))

    def _generator(self, number: int) -> torch.Generator:
        """Return what shuffles the pool for a round, the same on every rank."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)

    def _plan(self) -> _Plan:
        others = tuple(size for size in self.others if not self._is_near(size))
        if self.goal.rounds is not None or not self.rounds:
            split, controlled = (tuple(self.network), ()) if self.shares else ((), tuple(self.network))
            return _Plan(split, (*controlled, *others), law=bool(self.law))
        open_sizes = [size for size in self.network if not self._is_known(size)]
        split = tuple(size for size in open_sizes if not self._shares_are_known(size))
        rest = [size for size in open_sizes if size not in split]
        # controls are free of charge where what they are made of is kept, and beside shares; else they take a pass forward and
        # backward for all sizes together
        kept = self.sampler.kept is not None
        law = bool(self.law and (split or not self.shares)) and not self._law_is_known()
        if split or not rest or not self.shares:
            rest += others
        elif (
            kept and self.rounds % 2 == 0
        ):  # a size for predictions need not be known better than its groups say by then
            rest += [size for size in others if self.others[size].count < _FEWEST]
        cost = 1.0 if kept or split or law or not rest else 1.0 + _BACKWARD / len(rest)
        controlled = tuple(size for size in rest if self._tally(size).gain() > cost)
        return _Plan(split, controlled, tuple(size for size in rest if size not in controlled), law)

    def _tally(self, size: int) -> Tally:
        return self.network[size] if size in self.network else self.others[size]

    def _is_near(self, size: int) -> bool:
        """Return whether the gap at a size that only predictions need is known well enough."""
        if self.goal.rounds is not None or not self.rounds:
            return False
        gap = self.others[size].gap()
        return self.others[size].count >= _FEWEST and gap.stderr <= _OTHERS * self._allowed(gap)

    def _law_is_known(self) -> bool:
        gap = self.law[None].gap()
        return gap.stderr <= self._allowed(gap)

    def _batch(self, batch: Batch, plan: _Plan) -> _Found:
        found, sampler = _Found(), self.sampler
        law = plan.law and self.source <= batch.size
        sizes = {size for size in (*plan.split, *plan.controlled, *plan.light) if size <= batch.size}
        zero = sampler.zero(batch) if plan.split or plan.controlled or law else None
        losses = sampler.losses(batch) if zero is None else zero.result.losses
        for size in sizes:
            if zero is not None and size in plan.split:
                found.network[size] = sampler.shares(batch, size, zero)
            else:
                controls = zero.controls(size) if zero is not None and size in plan.controlled else None
                found.network[size] = Groups(self._gaps(batch, size, losses, found, self.rounds), controls)
        turn = bool(plan.split) if self.shares else bool(plan.controlled)
        for name, size in self.alone:
            if zero is not None and turn and size in sizes:
                controls = zero.controls(size)[:, [i for i, call in enumerate(zero.moved) if call == name]]
                found.alone[name, size] = Groups(sampler.gaps(batch, size, losses, [name]), controls)
        if law and zero is not None:
            for call in self.law:
                active = list(sampler.populations) if call is None else [call]
                found.law[call] = sampler.law(batch, self.source, zero, active, keep=self.keep and call is None)
        return found

    def _gaps(self, batch: Batch, size: int, losses: torch.Tensor, found: _Found, number: int) -> torch.Tensor:
        indices, noise = batch.indices, self.noise
        if indices is None or noise is None or size != self.source or not noise.wants(number):
            return self.sampler.gaps(batch, size, losses)
        return self.sampler.gaps(batch, size, losses, watch=lambda z: found.outputs.append((indices, z.cpu())))

    def _add(self, found: _Found, place: tuple[int, int]) -> None:
        for size, groups in found.network.items():
            self._tally(size).add(groups, place)
        for key, groups in found.alone.items():
            self.alone[key].add(groups, place)
        for call, law in found.law.items():
            self.law[call].groups.append(law)
        if self.noise is not None:
            for indices, outputs in found.outputs:
                self.noise.add(place[0], indices, outputs)

    def _judge(self) -> None:
        """Say why it stops, if it does, and how many rounds it may take."""
        if self.goal.rounds is not None:
            if self.rounds >= self.goal.rounds:
                self.stopped = "rounds"
        else:
            known = all(self._is_known(size) for size in self.network)
            if known and all(tally.count >= _FEWEST_OTHERS for tally in self.others.values()):
                self.stopped = "precision"
            elif self.rounds >= _MOST_ROUNDS:
                self.stopped = "samples"
            self._expect()
        if any(gather(self.goal.is_late)) and not self.stopped:
            self.stopped = "seconds"

    def _expect(self) -> None:
        """Estimate how many rounds it takes, from the size that is furthest from what is asked for."""
        gaps = {size: tally.gap() for size, tally in self.network.items()}
        size = max(gaps, key=lambda size: gaps[size].stderr / self._allowed(gaps[size]))
        gap = gaps[size]
        ratio = gap.stderr / self._allowed(gap)
        if math.isfinite(ratio):
            self.expected = min(self.rounds * max(1.0, ratio**2), float(max(_MOST_ROUNDS, self.rounds)))
        reached = gap.stderr / abs(gap.value) if gap.value else math.inf
        self.note = f"gap at M = {size} to {reached:.0%}, asked for {self.goal.precision:.0%}"

    def _show(self, rounds: float) -> None:
        self.show(min(1.0, rounds / max(self.expected, rounds)), self.note)

    def _allowed(self, gap: Estimate) -> float:
        return self.goal.precision * max(abs(gap.value), _SMALL * abs(float(self.losses.mean())))

    def _is_known(self, size: int) -> bool:
        tally = self.network[size]
        gap = tally.gap()
        return tally.count >= _FEWEST and gap.stderr <= self._allowed(gap) and self._shares_are_known(size)

    def _shares_are_known(self, size: int) -> bool:
        """Return whether the shares are known as well as asked for once the gap is, which takes no groups with shares."""
        if not self.shares:
            return True
        tally = self.network[size]
        gap = tally.gap()
        allowed = self._allowed(gap)
        shares = tally.shares(Estimate(gap.value, min(gap.stderr, allowed)))
        error = math.sqrt(sum(share.stderr**2 for share in shares) / max(1, len(shares)))
        return tally.split_count >= _FEWEST_SPLIT and error <= _SHARES * allowed
