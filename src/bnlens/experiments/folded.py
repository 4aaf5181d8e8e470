"""A trained net trained on with its BN layers folded into the weights, and with them kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from bnlens.train import ImageData

__all__ = ["train_on_folded"]


def train_on_folded(
    *,
    net: str,
    data: str,
    samples: int,
    further_epochs: int,
    further_rates: Sequence[float],
    batch_size: int,
    device_batch_size: int,
    statistics_batch_size: float | str,
    augment: bool,
    seed: int,
    **recipe: Any,
) -> dict[str, Any]:
    """Train one net with BN, fold BN into its weights, and train on with and without BN at each of some constant rates.

    Further training is by SGD with momentum 0.9, without warm-up or weight decay, so that the loss alone moves the norms. The
    seed sets the initial weights, which images are trained on and their order: with BN folded and with BN kept a net sees
    the same batches. A run diverges if a loss is not finite, or if the mean of an epoch's losses is above chance, log K for K
    classes; it ends there.

    Args:
        net: name of the net, see `bnlens.train.build_net`.
        data: ``"digits"`` or the folder of CIFAR-10.
        samples: training images, the same number of each class.
        further_epochs: passes after the folding.
        further_rates: learning rates of these.
        batch_size: images per optimizer step.
        device_batch_size: images per forward pass.
        statistics_batch_size: M, an int or ``"inf"``.
        augment: whether to train on random crops and flips.
        seed: see above.
        **recipe: ``epochs`` and ``lr``, the largest learning rate, before the folding.

    Returns:
        ``data``, ``images`` and ``test_images``; ``difference``, the largest of a logit by the folding over the root mean
        square of the logits, on 500 training images; ``further``, per rate ``lr`` and, for ``folded`` and ``kept``,
        ``diverged`` and ``curve``: from 0, the folding, one dict per epoch with ``epoch``, ``train_loss``, ``test_loss``,
        ``test_accuracy`` and ``weight_norm`` (of each weight but the last layer's). Those of ``kept`` are with the
        population's statistics, and its norms those of the weights after folding.
    """
    from bnlens.experiments._folding import fold
    from bnlens.experiments._training import build, train
    from bnlens.train import load_data

    images, test = load_data(data, samples=samples, seed=seed), load_data(data, split="test")
    common: dict[str, Any] = {"batch_size": batch_size, "statistics_batch_size": statistics_batch_size}
    common |= {"device_batch_size": device_batch_size, "augment": augment, "seed": seed}
    kept = build(images, net, seed=seed)
    train(kept, images, **common, **recipe)
    folded = fold(kept)
    further = {**common, "epochs": further_epochs, "schedule": "constant", "warmup_steps": 0, "weight_decay": 0.0}
    without = {**further, "statistics_batch_size": device_batch_size, "device_batch_size": None}
    return {
        "data": images.name,
        "images": len(images),
        "test_images": len(test),
        "difference": _difference(kept, folded, images),
        "further": [
            {
                "lr": rate,
                "folded": _train_on(folded, images, test, lr=rate, **without),
                "kept": _train_on(kept, images, test, lr=rate, **further),
            }
            for rate in further_rates
        ],
    }


def _difference(one: nn.Module, other: nn.Module, images: ImageData) -> float:
    import torch

    with torch.no_grad():
        logits, others = (model.eval()(images.images[:500]) for model in (one, other))
    return float((logits - others).abs().max() / logits.square().mean().sqrt())


def _train_on(model: nn.Module, images: ImageData, test: ImageData, **further: Any) -> dict[str, Any]:
    """Train a copy, and measure it at the start and after each epoch."""
    from bnlens.errors import DataError, LossError
    from bnlens.experiments._training import train

    model = copy.deepcopy(model)
    per_epoch, chance = len(images) // further["batch_size"], math.log(images.num_classes)
    curve = [{"epoch": 0, **_measured(model, images, test)}]
    losses: list[float] = []

    def observe(step: int, _steps: int, loss: float, model: nn.Module) -> None:
        losses.append(loss)
        if step % per_epoch:
            return
        if (mean := sum(losses[-per_epoch:]) / per_epoch) > chance:
            raise LossError(f"the mean loss of an epoch is {mean:.3g}, above chance; lower lr")
        curve.append({"epoch": step // per_epoch, **_measured(model, images, test)})

    try:
        train(model, images, observe=observe, recalibrate=False, **further)
    except (LossError, DataError):  # with BN kept, activations that are not finite are the latter
        return {"diverged": True, "curve": curve}
    return {"diverged": False, "curve": curve}


def _measured(model: nn.Module, images: ImageData, test: ImageData) -> dict[str, Any]:
    from bnlens.errors import LossError
    from bnlens.experiments._folding import fold
    from bnlens.experiments._weights import weight_norms
    from bnlens.measure import recalibrate
    from bnlens.nn import DialBatchNorm
    from bnlens.train import evaluate, loader

    if any(isinstance(module, DialBatchNorm) for module in model.modules()):
        model = copy.deepcopy(model)
        recalibrate(model, loader(images, 256), progress=False)
        model = fold(model)
    of_train, of_test = evaluate(model, images), evaluate(model, test)
    if not math.isfinite(of_train.cross_entropy + of_test.cross_entropy):
        raise LossError("the loss in eval mode is not finite; lower lr")
    return {
        "train_loss": of_train.cross_entropy,
        "test_loss": of_test.cross_entropy,
        "test_accuracy": of_test.accuracy,
        "weight_norm": weight_norms(model),
    }
