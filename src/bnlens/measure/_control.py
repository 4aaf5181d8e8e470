"""Control variates: what random groups do to first order is known exactly, so it need not add to the error."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._gradients import SampleGradients
from bnlens.measure._statistics import SampleStatistics
from bnlens.theory.noise import noise_scale

__all__ = ["first_order_by_group", "with_control"]

_GROUPS_PER_CONTROL = 10


def first_order_by_group(
    members: Tensor, statistics: Mapping[str, SampleStatistics], gradients: Mapping[str, SampleGradients]
) -> Tensor:
    """Return per group and BN call, (mean gradient of the group) . (mean noise of the group), less its exact expectation.

    The gap of a group is this plus terms of second order. With v centred over the pool, a group of M of the P samples
    drawn without replacement has the expectation f(M, P) E_j[g_j . v_j] (theory sheet A.2), whatever the network.

    From the indices of each group's samples, (groups, M), and the gradients at the given targets to (groups, calls), float64,
    of expectation zero over random groups.
    """
    size = len(next(iter(statistics.values())).mean)
    scale = float(noise_scale(members.shape[1], size))
    columns = []
    for name, call in statistics.items():
        noise, gradient = call.noise, gradients[name].stacked
        expectation = scale * (gradient * noise).double().sum(1).mean()
        columns.append((gradient[members].mean(1) * noise[members].mean(1)).double().sum(1) - expectation)
    return torch.stack(columns, dim=1)


def with_control(values: Tensor, controls: Tensor) -> Estimate:
    """Return the mean of ``values`` (n,), with the part explained by ``controls`` (n, k), of expectation zero, taken out.

    Regression on the controls leaves the mean unbiased up to O(k/n) of its standard error. With fewer than ten groups
    for each control they are added up to a single one.
    """
    if len(values) < _GROUPS_PER_CONTROL * controls.shape[1]:
        controls = controls.sum(1, keepdim=True)
    n, k = controls.shape
    if n < _GROUPS_PER_CONTROL:
        return mean_estimate(values)
    design = torch.cat([torch.ones(n, 1, dtype=torch.float64), controls], dim=1)
    solution = torch.linalg.lstsq(design, values.double().unsqueeze(1), driver="gelsd").solution
    residual = values.double() - (design @ solution).squeeze(1)
    variance = residual.square().sum() / (n - 1 - k)
    # the variance of the intercept: the leverage of the controls' own mean is part of it
    leverage = torch.linalg.pinv(design.T @ design)[0, 0]
    return Estimate(float(solution[0]), float((variance * leverage).sqrt()))
