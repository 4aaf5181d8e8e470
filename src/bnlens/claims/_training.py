"""Training runs that claims about the statistics batch size share: one net, one seed, one way of normalising."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bnlens.claims._claim import Job

__all__ = ["POPULATION", "SHARED", "job_of_run", "recipe_of", "run_name", "train_once"]

POPULATION = "inf"  # JSON has no infinity
SHARED = "shared"
_DIGITS: Mapping[str, Any] = {"net": "cnn", "data": "digits", "samples": 1000, "steps": 60, "lr": 0.3}
_CIFAR: Mapping[str, Any] = {"net": "cnn", "samples": 5000, "steps": 600, "lr": 0.3}


def recipe_of(data: Path | None) -> dict[str, Any]:
    """What all runs of a claim have in common: net, data, number of images and steps, learning rate."""
    if data is None:
        return dict(_DIGITS)
    return {**_CIFAR, "data": str(data)}


def run_name(statistics_batch_size: float | str, device_batch_size: int, seed: int, way: str | None) -> str:
    """Name of a run, such as ``"M64-device16-seed0"``; ``way`` is that of `job_of_run`."""
    middle = "" if way is None else f"-{way}"
    return f"M{statistics_batch_size}-device{device_batch_size}{middle}-seed{seed}"


def job_of_run(
    recipe: Mapping[str, Any],
    statistics_batch_size: float | str,
    device_batch_size: int,
    seed: int,
    way: str | None = None,
) -> Job:
    """The job of one run; claims that ask for the same run share its result.

    Args:
        recipe: see :func:`recipe_of`.
        statistics_batch_size: see :func:`train_once`.
        device_batch_size: see :func:`train_once`.
        seed: see :func:`train_once`.
        way: None, for batch statistics or windows, `SHARED`, or a regulariser.
    """
    config = {
        **recipe,
        "statistics_batch_size": statistics_batch_size,
        "device_batch_size": device_batch_size,
        "share_statistics": way == SHARED,
        "regulariser": None if way == SHARED else way,
        "seed": seed,
    }
    passes = recipe["steps"] * 256 / device_batch_size
    cost = recipe["steps"] * recipe["samples"] / 40_000 * (1.3 if way == SHARED else 1) + passes * 0.004
    return Job(run_name(statistics_batch_size, device_batch_size, seed, way), train_once, config, cost=cost)


def train_once(
    *,
    net: str,
    data: str,
    samples: int,
    steps: int,
    lr: float,
    statistics_batch_size: float | str,
    device_batch_size: int,
    share_statistics: bool,
    regulariser: str | None,
    seed: int,
) -> dict[str, Any]:
    """Train one net at optimizer batch 256 and evaluate it with exact population statistics.

    The seed sets the initial weights, which images are trained on and their order, and nothing else does: runs of one
    seed that differ in how they normalise are pairs.

    Args:
        net: name of the net.
        data: ``"digits"`` or the folder of CIFAR-10.
        samples: training images.
        steps: optimizer steps.
        lr: largest learning rate.
        statistics_batch_size: M, an int or ``"inf"``; with a regulariser, the M that it stands for, on population layers.
        device_batch_size: images per forward pass.
        share_statistics: whether forward passes share the statistics of M images.
        regulariser: None, ``"gamma-decay"`` or ``"curvature"``.
        seed: see above.

    Returns:
        ``train_loss``, ``test_loss`` (cross-entropy, nats per image), ``test_accuracy``, ``gamma`` (root mean square by
        layer), ``data`` and numbers of images.
    """
    import bnlens.nn
    from bnlens.conversion import convert
    from bnlens.train import build_net, evaluate, fit, load_data

    train, test = load_data(data, samples=samples, seed=seed), load_data(data, split="test")
    channels, height, width = train.images.shape[1:]
    model = build_net(net, input_shape=(channels, height, width), num_classes=len(train.class_names), seed=seed)
    convert(model)
    M = math.inf if statistics_batch_size == POPULATION else int(statistics_batch_size)
    penalty = None
    if regulariser is not None:
        kind = {"gamma-decay": bnlens.nn.GammaDecay, "curvature": bnlens.nn.CurvaturePenalty}[regulariser]
        bnlens.nn.set_statistics_batch_size(model, math.inf)
        penalty = kind(model, int(M))
        M = math.inf
    fit(
        model,
        train,
        statistics_batch_size=M,
        device_batch_size=device_batch_size,
        share_statistics=share_statistics,
        batch_size=256,
        steps=steps,
        lr=lr,
        regulariser=penalty,
        seed=seed,
    )
    of_train, of_test = evaluate(model, train), evaluate(model, test)
    layers = [module for module in model.modules() if isinstance(module, bnlens.nn.DialBatchNorm)]
    return {
        "data": train.name,
        "images": len(train),
        "test_images": len(test),
        "train_loss": of_train.cross_entropy,
        "test_loss": of_test.cross_entropy,
        "test_accuracy": of_test.accuracy,
        "gamma": _rms(layer.weight for layer in layers),
    }


def _rms(weights: Iterable[Any]) -> list[float]:
    return [float(weight.detach().square().mean().sqrt()) for weight in weights]
