"""Standard errors are honest: over seeds, intervals of two of them hold the value of a long run as often as they should."""

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch.nn.functional as F
from measure_cases import Residual, mlp, trained
from torch import nn

import bnlens
from bnlens.measure import Estimate, Report

SIZES = (8, 32)


def estimates(report: Report) -> list[Estimate]:
    """Gap and shares at each M."""
    return [
        values[size]
        for values in (report.network.gaps.measured, *(layer.share for layer in report.layers))
        for size in SIZES
    ]


@functools.cache
def long_run(make: Callable[[], nn.Module], *shape: int) -> tuple[Callable[..., list[Estimate]], list[Estimate]]:
    """How to run a report of a trained network, and the estimates of a long run."""
    model, loader = trained(make, *shape)

    def run(seed: int, **options: Any) -> list[Estimate]:
        return estimates(
            bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=SIZES, seed=seed, **options)
        )

    return run, run(1000, rounds=400)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [{"precision": 0.1}, {"rounds": 3}], ids=["precision", "rounds"])
@pytest.mark.parametrize(("make", "shape"), [(mlp, (5,)), (Residual, (2, 4, 4))], ids=["mlp", "conv"])
def test_intervals_hold_the_value_of_a_long_run(
    make: Callable[[], nn.Module], shape: tuple[int, ...], stop: dict[str, Any]
) -> None:
    run, truth = long_run(make, *shape)
    inside = [
        abs(found.value - true.value) < 2 * math.hypot(found.stderr, true.stderr)
        for seed in range(40)
        for found, true in zip(run(seed, **stop), truth, strict=True)
    ]
    assert 0.90 <= sum(inside) / len(inside) <= 0.99
