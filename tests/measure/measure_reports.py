"""Reports with fixed numbers."""

import dataclasses
import math
from typing import Any

from bnlens.measure import Estimate, Gaps, LayerResult, NetworkResult, Note, Report

NAN = math.nan
NAMES = ("stem.1", "blocks.0.bn", "head.bn")


def gaps(factor: float, *, likelihood: bool = True) -> Gaps:
    return Gaps(
        measured={16: Estimate(0.0312, 0.0011) * factor, 64: Estimate(0.00731, 0.00032) * factor},
        first_order=Estimate(0.0151, 0.0004) * factor,
        fisher=Estimate(0.0137, 0.0003) * factor if likelihood else None,
        two_term=Estimate(0.0204, 0.0002) * factor if likelihood else None,
        source=32,
        population=2048,
        others={32: Estimate(0.0152, 0.0007) * factor, 128: Estimate(0.00344, 0.00021) * factor},
        logits={16: Estimate(0.0301, 0.0009) * factor, 64: Estimate(0.00742, 0.00022) * factor},
        kurtosis=0.52,
    )


def layer(name: str, factor: float, *, likelihood: bool = True, **changes: Any) -> LayerResult:
    result = LayerResult(
        name=name,
        kind="BatchNorm2d",
        channels=64,
        pixels=256,
        gaps=gaps(factor, likelihood=likelihood),
        quadratic=Estimate(0.0121, 0.0002) if likelihood else None,
        self_inclusion=0.0021,
        shift=-0.0005,
        effective_samples_mean=Estimate(6.12, 0.21),
        effective_samples_std=Estimate(10.4, 1.3),
        kurtosis=Estimate(0.52, 0.04),
        gamma_rms=0.8125,
        dead_channels=0,
        stale_mean=Estimate(0.021, 0.004),
        stale_std=Estimate(0.013, 0.002),
        share={16: Estimate(0.0312, 0.0012) * factor, 64: Estimate(0.00731, 0.00041) * factor},
        two_term=Estimate(0.0204, 0.0002) * factor if likelihood else None,
    )
    return dataclasses.replace(result, **changes)


def full() -> Report:
    return Report(
        model="ResNet",
        layers=(layer("stem.1", 0.5), layer("blocks.0.bn", 0.25, dead_channels=3), layer("head.bn", -0.125, gaps=None)),
        network=NetworkResult(
            gaps(1.0),
            Estimate(0.4213, 0.0123),
            Estimate(0.0021, 0.0007),
            {16: Estimate(0.0117, 0.0002), 64: Estimate(0.00274, 0.00011)},
        ),
        notes=(
            Note("dead channels", "blocks.0.bn", "3 of 64 channels have an output that does not vary"),
            Note("moving statistics", "", "have requires_grad=False but are not in eval mode", NAMES),
            Note("stale statistics", "", "evaluation with the running statistics costs 0.0021 nats"),
        ),
        statistics_batch_sizes=(16, 64),
        prediction_batch_size=32,
        samples=2048,
        rounds=4,
        likelihood="cross_entropy",
        population_passes=5,
        seed=0,
        seconds=12.5,
        version="0.1.0",
        created="2026-01-02T03:04:05+00:00",
        precision=0.05,
        stopped="seconds",
        groups={16: 512, 64: 128},
    )


def bare() -> Report:
    """What a report without likelihood, running statistics, layers' gaps and known errors looks like, or one of schema 1."""
    alone = layer(
        "bn",
        1.0,
        likelihood=False,
        kind="BatchNorm1d",
        pixels=1,
        gaps=None,
        effective_samples_mean=Estimate(1.0, 0.0),
        effective_samples_std=Estimate(NAN, NAN),
        kurtosis=Estimate(NAN, NAN),
        stale_mean=None,
        stale_std=None,
        share={},
    )
    network = Gaps({4: Estimate(-2e-7, NAN)}, Estimate(0.0, 0.0), None, None, 8, 16)
    return dataclasses.replace(
        full(),
        model="Net",
        layers=(alone,),
        network=NetworkResult(network, Estimate(1.0986, NAN), None),
        notes=(),
        statistics_batch_sizes=(4,),
        prediction_batch_size=8,
        samples=16,
        likelihood=None,
        precision=None,
        stopped="rounds",
        groups={},
    )
