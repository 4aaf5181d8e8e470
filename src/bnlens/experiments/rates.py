"""Short runs over a grid of learning rates: which of them a net survives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["try_rates"]

_LAST = 10  # steps whose mean loss is compared with chance


def try_rates(
    *,
    net: str,
    data: str,
    samples: int,
    steps: int,
    batch_size: int,
    rates: Sequence[float],
    normalisation: str,
    seed: int,
) -> dict[str, Any]:
    """Train a net for a few steps at each constant learning rate, from the same weights, without warm-up or weight decay.

    A run diverges if a loss is not finite, or if the mean of the last ten losses lies above chance, log K for K classes.

    Args:
        net: name of the net.
        data: ``"digits"`` or the folder of CIFAR-10.
        samples: training images.
        steps: optimizer steps of a run.
        batch_size: images per step and per forward pass.
        rates: learning rates of SGD with momentum 0.9, ascending.
        normalisation: ``"bn"`` (statistics of the batch), ``"pn"`` (population layers) or ``"none"`` (no BN layers).
        seed: of the initial weights, the images and their order.

    Returns:
        ``normalisation``, ``seed``, ``data``, ``chance``, and ``trials``: per rate ``lr``, ``diverged``, ``loss`` (of the last
        ten steps; None where not finite), ``steps`` done, ``growth`` (norm of the weights before the last layer over the norm
        at the start, root mean square over layers; None where not finite).
    """
    from bnlens.errors import LossError
    from bnlens.experiments._training import POPULATION, build, train
    from bnlens.experiments._weights import weight_norms
    from bnlens.train import load_data

    images = load_data(data, samples=samples, seed=seed)
    chance = math.log(images.num_classes)
    trials = []
    for rate in rates:
        model = build(images, net, norm="none" if normalisation == "none" else "bn", seed=seed)
        before = weight_norms(model)
        losses: list[float] = []

        def note(_step: int, _steps: int, loss: float, _model: Any, losses: list[float] = losses) -> None:
            losses.append(loss)

        finite = True
        recipe: dict[str, Any] = {"batch_size": batch_size, "steps": steps, "lr": rate, "schedule": "constant"}
        recipe |= {"warmup_steps": 0, "weight_decay": 0.0, "recalibrate": False, "seed": seed, "observe": note}
        if normalisation == "pn":
            recipe["device_batch_size"] = batch_size
        M = POPULATION if normalisation == "pn" else batch_size
        try:
            train(model, images, statistics_batch_size=M, **recipe)
        except LossError:
            finite = False
        last = losses[-_LAST:]
        loss = sum(last) / len(last) if last else math.nan
        # a residual branch without BN starts at zero
        ratios = [after / start for after, start in zip(weight_norms(model), before, strict=True) if start]
        growth = math.sqrt(sum(ratio * ratio for ratio in ratios) / len(ratios))
        trial = {"lr": rate, "diverged": not (finite and loss <= chance), "loss": loss if finite else None}
        trials.append({**trial, "steps": len(losses), "growth": growth if math.isfinite(growth) else None})
    about = {"normalisation": normalisation, "seed": seed, "data": images.name, "images": len(images)}
    return {**about, "batch_size": batch_size, "chance": chance, "trials": trials}
