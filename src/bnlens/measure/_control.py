"""Estimates over random groups, with what is known exactly of such groups taken out of the error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnlens.measure._estimate import Estimate, mean_estimate

__all__ = ["gain", "influence", "joined", "split", "with_control"]

_GROUPS_PER_CONTROL = 10
_FOLDS = 10


def with_control(values: Tensor, controls: Tensor) -> Estimate:
    """Return the mean of ``values`` (n,), with the part explained by ``controls`` (n, k), of expectation zero, taken out.

    The controls of a gap are what its groups do to first order, (mean gradient) . (mean noise) of each BN call, less the
    expectation f(M, P) E_j[g_j . v_j], which is exact for groups drawn without replacement (theory sheet A.2), whatever
    the network. Regression on them, by slopes that other groups give, leaves the mean unbiased.
    """
    if len(values) < _GROUPS_PER_CONTROL:
        return mean_estimate(values)
    few = _few(controls)
    design = torch.cat([torch.ones(len(few), 1, dtype=torch.float64), few], dim=1)
    point = torch.zeros(design.shape[1], dtype=torch.float64)
    point[0] = 1.0
    (value,), (variance,), _ = _predicted(design, values.double().unsqueeze(1), point)
    return Estimate(float(value), math.sqrt(float(variance)))


def joined(values: Tensor, controls: Tensor, more: Tensor) -> Estimate:
    """Return the mean over groups of which the first have ``values`` (n,) and ``controls`` (n, k), the others ``more`` (m,).

    A group with controls counts as many times as much as one without as the controls take from the variance.
    """
    controlled = with_control(values, controls)
    if len(more) < 2:
        return controlled
    worth = len(values) * gain(values, controls)
    return (controlled * worth + mean_estimate(more) * len(more)) * (1 / (worth + len(more)))


def influence(values: Tensor, controls: Tensor, more: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much each group moves `joined`, (n,) and (m,): the sum of their squares is its variance, near enough."""
    if len(values) < _GROUPS_PER_CONTROL:
        of_values = (values.double() - values.double().mean()) / len(values)
    else:
        few = _few(controls)
        design = torch.cat([torch.ones(len(few), 1, dtype=torch.float64), few], dim=1)
        residual = values.double() - design @ torch.linalg.lstsq(design, values.double(), driver="gelsd").solution
        of_values = residual * (design @ torch.linalg.pinv(design.T @ design, hermitian=True)[0])
    if len(more) < 2:
        return of_values, torch.zeros(len(more), dtype=torch.float64)
    worth = len(values) * gain(values, controls)
    return of_values * worth / (worth + len(more)), (more.double() - more.double().mean()) / (worth + len(more))


def gain(values: Tensor, controls: Tensor) -> float:
    """Return by how much the controls divide the variance of the mean of ``values``; see `with_control`."""
    error = with_control(values, controls).stderr
    return float(values.var()) / (len(values) * error**2) if error > 0 else 1.0


def split(parts: Tensor, values: Tensor, controls: Tensor, whole: Estimate) -> list[Estimate]:
    """Return the mean of each column of ``parts`` (n, L), given the mean of ``values`` (n,) over more groups than these.

    Regression on the values and the controls (two-phase sampling; Cochran, Sampling Techniques, 12.6): where the columns add
    up to ``values`` group by group, the estimates add up to ``whole`` exactly.
    """
    if len(values) < _GROUPS_PER_CONTROL:
        return [mean_estimate(part) for part in parts.unbind(1)]
    few = _few(controls, spare=1)
    ones = torch.ones(len(few), 1, dtype=torch.float64)
    design = torch.cat([ones, few, values.double().unsqueeze(1)], dim=1)
    point = torch.zeros(design.shape[1], dtype=torch.float64)
    point[0], point[-1] = 1.0, whole.value
    found, variances, slopes = _predicted(design, parts.double(), point)
    variances = variances + (slopes[-1] * whole.stderr).square()
    return [Estimate(float(v), math.sqrt(float(s))) for v, s in zip(found, variances, strict=True)]


def _few(controls: Tensor, spare: int = 0) -> Tensor:
    """Return one control for each ten groups, less ``spare``, at least one: those that vary most, and the sum of the rest."""
    most = max(1, len(controls) // _GROUPS_PER_CONTROL - spare)
    if controls.shape[1] <= most:
        return controls
    order = controls.var(0).argsort(descending=True)
    return torch.cat([controls[:, order[: most - 1]], controls[:, order[most - 1 :]].sum(1, keepdim=True)], dim=1)


def _predicted(design: Tensor, values: Tensor, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Regress ``values`` (n, L) on ``design`` (n, k): means at ``point`` and their variances, (L,), and slopes (k, L).

    Each group is taken to the point by slopes that the other folds give: slopes that know a group lower its part, as gaps
    curve with their controls.
    """
    scale = design.norm(dim=0)
    design, point = design / scale.where(scale > 0, 1), point / scale.where(scale > 0, 1)
    folds = torch.arange(len(design)).tensor_split(_FOLDS)  # groups of one shuffle side by side
    products = torch.stack([design[rows].T @ torch.cat([design[rows], values[rows]], dim=1) for rows in folds])
    whole = products.sum(0)
    k = design.shape[1]
    rest = torch.cat([whole.unsqueeze(0), whole - products])
    slopes = torch.linalg.pinv(rest[..., :k], hermitian=True) @ rest[..., k:]
    moved = [values[rows] + (point - design[rows]) @ own for rows, own in zip(folds, slopes[1:], strict=True)]
    terms = torch.cat(moved)
    return terms.mean(0), terms.var(0) / len(terms), slopes[0] / scale.where(scale > 0, 1).unsqueeze(1)
