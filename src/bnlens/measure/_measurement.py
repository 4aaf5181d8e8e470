"""Gaps of single layers and of the network, from one collection of per-sample quantities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._progress import Bar
from bnlens.measure._control import first_order_by_group, with_control
from bnlens.measure._description import describe
from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._gradients import SampleGradients, collect_gradients
from bnlens.measure._groups import Rounds, group_gaps, second_order
from bnlens.measure._laws import LayerLaw, layer_law, linear_by_group, network_fisher
from bnlens.measure._population import Population
from bnlens.measure._probe import Probe
from bnlens.measure._results import Gaps, LayerResult
from bnlens.measure._statistics import SampleStatistics, collect_statistics
from bnlens.theory.noise import noise_scale

__all__ = ["Collected", "Measurement"]


@dataclass(frozen=True)
class Collected:
    """Per-sample quantities of all calls under population statistics; zero gradients in ``unreached`` calls."""

    baseline: Tensor
    statistics: dict[str, SampleStatistics]
    given: dict[str, SampleGradients]
    drawn: dict[str, SampleGradients]
    laws: dict[str, LayerLaw]
    unreached: tuple[str, ...]

    @classmethod
    def collect(cls, probe: Probe, populations: dict[str, Population], seed: int, bar: Bar) -> Collected:
        batches = -(-len(probe.pool) // probe.batch_size)
        baseline, statistics = collect_statistics(probe, populations, bar.stage("statistics, batches", batches))
        generator = torch.Generator().manual_seed(seed) if probe.loss.likelihood is not None else None
        advance = bar.stage("gradients, batches", batches)
        given, drawn = collect_gradients(probe, populations, drawn=generator, advance=advance)
        unreached = tuple(name for name in populations if name not in given)
        for name in unreached:
            nothing = torch.zeros_like(statistics[name].mean)
            given[name] = SampleGradients(nothing, nothing)
            if generator is not None:
                drawn[name] = given[name]
        laws = {name: layer_law(statistics[name], given[name], drawn.get(name)) for name in populations}
        return cls(baseline, statistics, given, drawn, laws, unreached)


@dataclass(frozen=True)
class Measurement:
    """Gaps of any set of calls, from one collection."""

    probe: Probe
    populations: dict[str, Population]
    data: Collected
    sizes: tuple[int, ...]
    source: int
    rounds: int
    seed: int
    bar: Bar

    def of(self, active: list[str], label: str) -> Gaps:
        """Return the gaps with the calls ``active`` on group statistics."""
        measured = {}
        for size in self.sizes:
            advance = self.bar.stage(f"{label}: gap at M = {size}, rounds", self.rounds)
            rounds = Rounds(self.rounds, self.seed + size, advance)
            groups = group_gaps(self.probe, self.populations, self.data.baseline, active, size, rounds)
            measured[size] = with_control(groups.gaps, self._controls(groups.members, active))
        advance = self.bar.stage(f"{label}: second order at M0 = {self.source}, rounds", self.rounds)
        rounds = Rounds(self.rounds, self.seed + self.source, advance)
        runs = second_order(self.probe, self.populations, self.data.baseline, active, self.source, rounds)
        scale = float(noise_scale(self.source, len(self.probe.pool)))
        if len(active) == 1:
            law = self.data.laws[active[0]]
            linear = Estimate(law.linear * scale, 0.0)
            exact = mean_estimate(runs.quadratic) + linear
            fisher = None if law.fisher is None else law.fisher * scale + linear
        else:
            by_group, controls = linear_by_group(runs, self.data.given), self._controls(runs.members, active)
            linear, exact = with_control(by_group, controls), with_control(runs.quadratic + by_group, controls)
            fisher = network_fisher(runs, self.data.drawn) + linear if self.data.drawn else None
        two_terms = [law.two_term for name in active if (law := self.data.laws[name]).two_term is not None]
        two_term = sum(two_terms, Estimate(0.0, 0.0)) * scale if two_terms else None
        return Gaps(measured, exact, fisher, two_term, self.source, len(self.probe.pool))

    def _controls(self, members: Tensor, active: list[str]) -> Tensor:
        statistics = {name: self.data.statistics[name] for name in active}
        return first_order_by_group(members, statistics, self.data.given)

    def layer(self, name: str, module: _BatchNorm, per_layer: bool) -> LayerResult:
        """Return all results of one call."""
        statistics, law = self.data.statistics[name], self.data.laws[name]
        scale = float(noise_scale(self.source, len(self.probe.pool)))
        description = describe(module, statistics, self.populations[name])
        return LayerResult(
            name=name,
            kind=type(module).__name__,
            channels=len(statistics.gamma),
            pixels=statistics.pixels,
            gaps=self.of([name], name) if per_layer else None,
            quadratic=None if law.fisher is None else law.fisher * scale,
            self_inclusion=law.self_inclusion * scale,
            shift=law.shift * scale,
            **vars(description),
        )
