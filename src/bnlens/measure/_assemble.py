"""From sums and groups to the results of a report."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._collect import Collected
from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._groups import Perturbation
from bnlens.measure._laws import LayerLaw, describe, layer_fisher, layer_law, network_fisher
from bnlens.measure._measurement import Measurement
from bnlens.measure._results import Gaps, LayerResult, NetworkResult
from bnlens.theory.noise import noise_scale

__all__ = ["layer_result", "network_result"]


def layer_result(name: str, module: _BatchNorm, data: Collected, found: Measurement) -> LayerResult:
    """Return all results of one call."""
    sums, scale = data.calls[name], _scale(found)
    law = _law(name, data, found)
    fisher = None if data.kept is None else layer_fisher(data.kept, name) * scale
    index = list(found.sampler.populations).index(name)
    return LayerResult(
        name=name,
        kind=type(module).__name__,
        channels=len(sums.gamma),
        pixels=sums.pixels,
        gaps=_alone(name, law, fisher, found) if name in found.law else None,
        quadratic=fisher,
        self_inclusion=law.self_inclusion * scale,
        shift=law.shift * scale,
        share={size: tally.shares()[index] for size, tally in found.network.items()} if found.shares else {},
        two_term=None if law.two_term is None else law.two_term * scale,
        **vars(describe(module, sums)),
    )


def network_result(data: Collected, found: Measurement) -> NetworkResult:
    """Return all results of the network."""
    scale, law = _scale(found), found.law[None]
    laws = [_law(name, data, found) for name in found.sampler.populations]
    two_terms = [term.two_term * scale for term in laws if term.two_term is not None]
    fisher = None
    if data.kept is not None:
        parts = [groups.recorded for groups in law.groups]
        recorded = {
            name: Perturbation(
                torch.cat([part[name].shift for part in parts]), torch.cat([part[name].scale for part in parts])
            )
            for name in parts[0]
        }
        fisher = network_fisher(data.kept, recorded) + law.linear()
    gaps = Gaps(
        {size: tally.gap() for size, tally in found.network.items()},
        law.exact(),
        fisher,
        sum(two_terms, Estimate(0.0, 0.0)) if two_terms else None,
        found.source,
        len(found.sampler.probe.pool),
    )
    return NetworkResult(
        gaps,
        mean_estimate(data.losses),
        None if data.running is None else mean_estimate(data.running),
        {size: tally.shares()[-1] for size, tally in found.network.items()} if found.shares else {},
    )


def _alone(name: str, law: LayerLaw, fisher: Estimate | None, found: Measurement) -> Gaps:
    scale = _scale(found)
    linear = Estimate(law.linear * scale, 0.0)
    return Gaps(
        {size: found.alone[name, size].gap() for size in found.network},
        mean_estimate(found.law[name].quadratic()) + linear,
        None if fisher is None else fisher + linear,
        None if law.two_term is None else law.two_term * scale,
        found.source,
        len(found.sampler.probe.pool),
    )


def _law(name: str, data: Collected, found: Measurement) -> LayerLaw:
    return layer_law(data.calls[name], likelihood=found.sampler.probe.loss.likelihood is not None)


def _scale(found: Measurement) -> float:
    return float(noise_scale(found.source, len(found.sampler.probe.pool)))
