"""From sums over samples to a measurement, and from its groups to the results of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._collect import Collected, Kept
from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._groups import Perturbation
from bnlens.measure._laws import LayerLaw, dead_channels, describe, layer_fisher, layer_law, network_fisher
from bnlens.measure._measurement import Measurement
from bnlens.measure._population import Populations
from bnlens.measure._probe import Probe
from bnlens.measure._results import Gaps, LayerResult, NetworkResult
from bnlens.measure._sampling import Sampler
from bnlens.measure._tally import LawTally, Tally, covariance, widening
from bnlens.theory.noise import noise_scale

__all__ = ["layer_result", "network_result", "unmeasured", "with_constants"]

_OCTAVES = 3


def unmeasured(
    probe: Probe,
    populations: Populations,
    data: Collected,
    sizes: tuple[int, ...],
    others: tuple[int, ...],
    source: int,
    alone: tuple[str, ...],
    law: bool,
) -> Measurement:
    """Return a measurement without groups."""
    included = torch.tensor(
        [layer_law(data.calls[name], likelihood=False).self_inclusion for name in populations], dtype=torch.float64
    )
    index = {name: [position] for position, name in enumerate(populations)}
    if probe.loss.couples:  # no controls
        included = included[:0]
        index = {name: [] for name in populations}

    def expected(size: int, calls: Sequence[int] = range(len(included))) -> Tensor:
        return included[list(calls)] * float(noise_scale(size, len(probe.pool)))

    def wider(size: int) -> float:
        return widening(probe.pool.batch_size if probe.loss.couples else size, len(probe.pool))

    laws: dict[str | None, LawTally] = {None: LawTally(expected(source), wider(source))}
    laws |= {name: LawTally(expected(source, index[name]), wider(source)) for name in alone}
    known = None if probe.stochastic or probe.loss.couples else data.losses
    return Measurement(
        Sampler(probe, populations, losses_of_all=known, kept=data.kept),
        data.losses,
        {size: Tally(expected(size), wider(size)) for size in sizes},
        {size: Tally(expected(size), wider(size)) for size in others},
        laws if law else {},
        {(name, size): Tally(expected(size, index[name]), wider(size)) for name in alone for size in (*sizes, *others)},
        source,
    )


def layer_result(name: str, module: _BatchNorm, data: Collected, found: Measurement) -> LayerResult:
    """Return all results of one call, with beta for the constants of dead channels; see `with_constants`."""
    sums, scale = data.calls[name], _scale(found)
    law = _law(name, data, found)
    fisher = layer_fisher(data.kept, name) * scale if data.kept and data.kept.drawn else None
    index = list(found.sampler.populations).index(name)
    description = describe(module, sums)
    beta = torch.zeros_like(sums.gamma) if module.bias is None else module.bias.detach()
    return LayerResult(
        name=name,
        kind=type(module).__name__,
        channels=len(sums.gamma),
        pixels=round(sums.pixels),
        gaps=replace(_alone(name, law, fisher, found), kurtosis=description.kurtosis.value)
        if (name, min(found.network)) in found.alone
        else None,
        quadratic=fisher,
        self_inclusion=law.self_inclusion * scale,
        shift=law.shift * scale,
        share={size: tally.shares()[index] for size, tally in found.network.items()} if found.shares else {},
        two_term=None if law.two_term is None else law.two_term * scale,
        dead={channel: float(beta[channel]) for channel in dead_channels(sums)},
        **vars(description),
    )


def with_constants(layer: LayerResult, outputs: Tensor) -> LayerResult:
    """Return the same with the constants of dead channels from the mean output of each channel in evaluation, (C,)."""
    return replace(layer, dead={channel: float(outputs[channel]) for channel in layer.dead})


def network_result(layers: Sequence[LayerResult], data: Collected, found: Measurement) -> NetworkResult:
    """Return all results of the network of these layers."""
    scale, law = _scale(found), found.law.get(None)
    laws = [_law(name, data, found) for name in found.sampler.populations]
    two_terms = [term.two_term * scale for term in laws if term.two_term is not None]
    gaps = _gaps(found.network, found.others, found)
    gaps = replace(
        gaps,
        first_order=None if law is None else law.gap(),
        fisher=_fisher(data.kept, law) if law and data.kept and data.kept.drawn else None,
        two_term=sum(two_terms, Estimate(0.0, 0.0)) if two_terms else None,
        logits=_logits(found),
        kurtosis=max((layer.kurtosis.value for layer in layers if not math.isnan(layer.kurtosis.value)), default=0.0),
    )
    return NetworkResult(
        gaps,
        mean_estimate(data.losses),
        None if data.running is None else mean_estimate(data.running),
        {size: tally.shares()[-1] for size, tally in found.network.items()} if found.shares else {},
        found.as_loaded,
    )


def _gaps(asked: Mapping[int, Tally], others: Mapping[int, Tally], found: Measurement) -> Gaps:
    """Return what was measured; groups that are needed for predictions alone may be missing where time ran out."""
    others = {size: tally for size, tally in others.items() if tally.count > 1}
    return Gaps(
        {size: tally.gap() for size, tally in asked.items()},
        None,
        None,
        None,
        found.source,
        len(found.sampler.probe.pool),
        {size: tally.gap() for size, tally in others.items()},
        covariance({**asked, **others}),
    )


def _fisher(kept: Kept, law: LawTally) -> Estimate:
    parts = [groups.recorded for groups in law.groups]
    recorded = {
        name: Perturbation(
            torch.cat([part[name].shift for part in parts]), torch.cat([part[name].scale for part in parts])
        )
        for name in parts[0]
    }
    return network_fisher(kept, recorded) + law.linear()


def _logits(found: Measurement) -> dict[int, Estimate]:
    """Return predictions from the outputs, at what was measured and in steps of two from M0 to either side."""
    if found.noise is None:
        return {}
    steps = {round(found.source * 2.0**power) for power in range(-_OCTAVES, _OCTAVES + 1)}
    most = found.noise.samples // 2
    sizes = sorted(size for size in steps | set(found.network) if 2 <= size <= most)
    return found.noise.gaps(found.sampler.probe, found.sampler.populations, sizes)


def _alone(name: str, law: LayerLaw, fisher: Estimate | None, found: Measurement) -> Gaps:
    linear = Estimate(law.linear * _scale(found), 0.0)
    own = {size: tally for (call, size), tally in found.alone.items() if call == name}
    gaps = _gaps({size: own[size] for size in found.network}, {size: own[size] for size in found.others}, found)
    first_order = found.law[name].quadratic() + linear if name in found.law else None
    return replace(
        gaps,
        first_order=first_order,
        fisher=None if fisher is None else fisher + linear,
        two_term=None if law.two_term is None else law.two_term * _scale(found),
    )


def _law(name: str, data: Collected, found: Measurement) -> LayerLaw:
    loss = found.sampler.probe.loss
    law = layer_law(data.calls[name], likelihood=loss.likelihood is not None)
    return replace(law, self_inclusion=math.nan, shift=math.nan) if loss.couples else law


def _scale(found: Measurement) -> float:
    return float(noise_scale(found.source, len(found.sampler.probe.pool)))
