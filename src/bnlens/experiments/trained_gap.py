"""The gap of a trained net, layer by layer: measured, and predicted from groups of another size."""

from __future__ import annotations

from typing import Any

__all__ = ["train_and_report"]

_SIZES = (16, 64)
_TRAINED_AT = 16


def train_and_report(
    *, net: str, data: str, samples: int | None, steps: int, lr: float, rounds: int, seed: int
) -> dict[str, Any]:
    """Train a net with BN over 16 images and report on it with its own training images.

    Returns:
        ``data``, ``train_accuracy``, ``train_loss``, ``seconds`` and ``rows``: of the network and each layer, at each M,
        the gap measured and predicted as `bnlens.measure.Report.to_frame` has them.
    """
    import torch.nn.functional as F

    from bnlens.measure import report
    from bnlens.train import build_net, evaluate, fit, load_data, loader

    images = load_data(data, samples=samples, seed=seed)
    model = build_net(net, input_shape=images.input_shape, num_classes=images.num_classes, seed=seed)
    fit(model, images, statistics_batch_size=_TRAINED_AT, batch_size=256, steps=steps, lr=lr, seed=seed)
    effort: dict[str, Any] = {"rounds": rounds, "max_samples": len(images), "seed": seed, "progress": False}
    effort |= {"alone": True, "first_order": True, "fisher": True}
    result = report(model, loader(images, 256), F.cross_entropy, statistics_batch_size=_SIZES, **effort)
    trained = evaluate(model, images)
    frame = result.to_frame().reset_index()
    kinds = ("measured", "predicted", "first_order", "fisher", "two_term")
    columns = ["layer", "statistics_batch_size", *(name for kind in kinds for name in (kind, f"{kind}_stderr"))]
    return {
        "data": images.name,
        "images": len(images),
        "prediction_batch_size": result.prediction_batch_size,
        "train_accuracy": trained.accuracy,
        "train_loss": trained.cross_entropy,
        "seconds": result.seconds,
        "rows": frame[columns].to_dict("records"),
    }
