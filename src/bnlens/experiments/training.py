"""A net trained with a statistics batch size: its losses.

One function for each way of regularising, so that a change of one penalty's formula recomputes the runs with that penalty
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnlens.experiments._training import Penalty

__all__ = ["train_net", "train_net_with_curvature_penalty", "train_net_with_gamma_decay"]


def train_net(**config: Any) -> dict[str, Any]:
    """Train one net at optimizer batch 256 and evaluate it with exact population statistics.

    The seed sets the initial weights, which images are trained on and their order, and nothing else does: runs of one
    seed that differ in how they normalise are pairs.

    Args:
        **config: ``net``, name of the net; ``data``, ``"digits"`` or the folder of CIFAR-10; ``samples``, training images;
            ``steps``, optimizer steps; ``lr``, the largest learning rate; ``statistics_batch_size``, M, an int or ``"inf"``,
            and with a penalty the M that it stands for, on population layers; ``device_batch_size``, images per forward
            pass; ``share_statistics``, whether forward passes share the statistics of M images; ``regulariser``, the name
            of the penalty or None; ``seed``.

    Returns:
        See `bnlens.experiments._training.losses`.
    """
    return _trained(None, **config)


def train_net_with_gamma_decay(**config: Any) -> dict[str, Any]:
    """Train as `train_net` does, on population layers with gamma decay."""
    from bnlens.nn import GammaDecay

    return _trained(GammaDecay, **config)


def train_net_with_curvature_penalty(**config: Any) -> dict[str, Any]:
    """Train as `train_net` does, on population layers with the curvature penalty."""
    from bnlens.nn import CurvaturePenalty

    return _trained(CurvaturePenalty, **config)


def _trained(
    penalty: Penalty | None, *, net: str, data: str, samples: int, regulariser: str | None, seed: int, **recipe: Any
) -> dict[str, Any]:
    assert (penalty is None) == (regulariser is None)  # noqa: S101 - the plan names what the function does
    from bnlens.experiments._training import build, losses, train
    from bnlens.train import load_data

    images, test = load_data(data, samples=samples, seed=seed), load_data(data, split="test")
    model = build(images, net, seed=seed)
    train(model, images, penalty=penalty, batch_size=256, seed=seed, **recipe)
    return losses(model, images, test)
