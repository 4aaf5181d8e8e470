"""A net trained with a statistics batch size: its losses."""

from __future__ import annotations

from typing import Any

__all__ = ["train_net"]


def train_net(
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
        See `bnlens.experiments._training.losses`.
    """
    from bnlens.experiments._training import build, losses, train
    from bnlens.train import load_data

    images, test = load_data(data, samples=samples, seed=seed), load_data(data, split="test")
    model = build(images, net, seed=seed)
    train(
        model,
        images,
        statistics_batch_size=statistics_batch_size,
        regulariser=regulariser,
        device_batch_size=device_batch_size,
        share_statistics=share_statistics,
        batch_size=256,
        steps=steps,
        lr=lr,
        seed=seed,
    )
    return losses(model, images, test)
