"""The training run that the claims about convolutional networks share: one net, one seed, one way of normalising."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

__all__ = ["CURVE_IMAGES", "train_network"]

CURVE_IMAGES = 2000  # test images of the curves; the final numbers are over all
_GAP_SIZE, _GAP_SOURCE, _GAP_SAMPLES, _GAP_ROUNDS = 16, 32, 2048, 2


def train_network(
    *,
    net: str,
    data: str,
    samples: int,
    epochs: int,
    batch_size: int,
    lr: float,
    augment: bool,
    statistics_batch_size: float | str,
    device_batch_size: int,
    regulariser: str | None,
    noise: str | None,
    dropout: float,
    seed: int,
    scratch: Path | None = None,
) -> dict[str, Any]:
    """Train one net and measure loss, curves, weight norms, single neurons and, of population layers, the gap.

    The seed sets the initial weights, which images are trained on and their order, and nothing else does but for dropout:
    runs of one seed that differ in how they normalise are pairs.

    Args:
        net: name of the net, see `bnlens.train.build_net`.
        data: ``"digits"`` or the folder of CIFAR-10.
        samples: training images, the same number of each class.
        epochs: passes over them.
        batch_size: images per optimizer step.
        lr: largest learning rate.
        augment: train on random crops and flips.
        statistics_batch_size: M, an int or ``"inf"``; with a regulariser, the M that it stands for, on population layers.
        device_batch_size: images per forward pass.
        regulariser: None, ``"gamma-decay"`` or ``"curvature"``.
        noise: None, or ``"mean"`` or ``"std"``: only this statistic carries the noise of M samples.
        dropout: probability, before the last layer.
        seed: see above.
        scratch: a folder for the checkpoint, from which a run that was cut goes on.

    Returns:
        ``config``; ``data`` and numbers of images; ``train_loss``, ``test_loss`` (cross-entropy with population statistics,
        nats per image), ``train_accuracy``, ``test_accuracy``; ``curve``, one dict per epoch with ``epoch``, ``steps_loss``
        (mean of the steps' losses as trained), ``lr`` (mean over the steps), ``test_loss`` and ``test_accuracy`` (on 2,000
        images, with the moving averages), ``weight_norm`` (of each weight but the last layer's); ``gamma``, root mean square
        by layer; ``neurons``, see `measure_neurons`; ``gap``, see `_gap`, or None where the layers are not the population's.
    """
    import bnlens.nn
    from bnlens.claims._neurons import measure_neurons
    from bnlens.conversion import convert
    from bnlens.train import build_net, evaluate, fit, load_data

    train, test = load_data(data, samples=samples, seed=seed), load_data(data, split="test")
    model = build_net(net, input_shape=train.input_shape, num_classes=train.num_classes, dropout=dropout, seed=seed)
    population = statistics_batch_size == "inf"
    M = math.inf if population else int(statistics_batch_size)
    if noise is None:
        convert(model)
    else:
        bnlens.nn.use_partial_noise(model, noise)  # type: ignore[arg-type]
    penalty = None
    if regulariser is not None:
        kind = {"gamma-decay": bnlens.nn.GammaDecay, "curvature": bnlens.nn.CurvaturePenalty}[regulariser]
        bnlens.nn.set_statistics_batch_size(model, math.inf)
        penalty, M = kind(model, int(M)), math.inf
    curve = _Curve(test, scratch)
    history = fit(
        model,
        train,
        statistics_batch_size=M,
        device_batch_size=device_batch_size,
        batch_size=batch_size,
        epochs=epochs,
        lr=lr,
        augment=augment,
        regulariser=penalty,
        seed=seed,
        checkpoint=None if scratch is None else scratch / "run.pt",
        observe=curve.observer(len(train) // batch_size),
    )
    of_train, of_test = evaluate(model, train), evaluate(model, test)
    layers = [module for module in model.modules() if isinstance(module, bnlens.nn.DialBatchNorm)]
    config = {
        "net": net,
        "samples": samples,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "augment": augment,
        "statistics_batch_size": statistics_batch_size,
        "device_batch_size": device_batch_size,
        "regulariser": regulariser,
        "noise": noise,
        "dropout": dropout,
        "seed": seed,
    }
    return {
        "config": config,
        "data": train.name,
        "images": len(train),
        "test_images": len(test),
        "steps": history.steps,
        "train_loss": of_train.cross_entropy,
        "train_accuracy": of_train.accuracy,
        "test_loss": of_test.cross_entropy,
        "test_accuracy": of_test.accuracy,
        "curve": curve.rows(history.loss, history.learning_rate),
        "gamma": [float(layer.weight.detach().square().mean().sqrt()) for layer in layers],
        "neurons": measure_neurons(model, train, test),
        "gap": _gap(model, train, seed) if population and regulariser is None and noise is None else None,
    }


class _Curve:
    """What is measured after each epoch; kept in a file beside the checkpoint, so that a run that goes on has it all."""

    def __init__(self, test: Any, scratch: Path | None) -> None:
        import torch

        rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:CURVE_IMAGES]
        self._test = _rows_of(test, rows)
        self._file = None if scratch is None else scratch / "curve.json"
        self._rows: dict[str, dict[str, Any]] = {}
        self._per_epoch = 1
        if self._file is not None and self._file.is_file():
            self._rows = json.loads(self._file.read_text(encoding="utf-8"))

    def observer(self, per_epoch: int) -> Any:
        """For `fit`: measures at the end of an epoch of that many steps."""
        from bnlens._files import write_atomic
        from bnlens.claims._weights import weight_norms
        from bnlens.train import evaluate

        self._per_epoch = per_epoch

        def observe(step: int, _steps: int, _loss: float, model: Any) -> None:
            if step % per_epoch:
                return
            found = evaluate(model, self._test)
            self._rows[str(step // per_epoch)] = {
                "test_loss": found.cross_entropy,
                "test_accuracy": found.accuracy,
                "weight_norm": weight_norms(model),
            }
            if self._file is not None:
                write_atomic(self._file, json.dumps(self._rows))

        return observe

    def rows(self, losses: tuple[float, ...], rates: tuple[float, ...]) -> list[dict[str, Any]]:
        """One dict per epoch."""
        found = []
        for epoch in sorted(self._rows, key=int):
            steps = slice((int(epoch) - 1) * self._per_epoch, int(epoch) * self._per_epoch)
            means = (sum(values[steps]) / self._per_epoch for values in (losses, rates))
            found.append(
                {"epoch": int(epoch), **dict(zip(("steps_loss", "lr"), means, strict=True)), **self._rows[epoch]}
            )
        return found


def _rows_of(data: Any, rows: Any) -> Any:
    from dataclasses import replace

    return replace(data, images=data.images[rows], labels=data.labels[rows])


def _gap(model: Any, train: Any, seed: int) -> dict[str, Any]:
    """The gap at fixed weights: measured at M = 16, and coefficients of 1/M predicted from groups of another size.

    Returns:
        ``measured`` with ``measured_stderr`` (nats per image, at ``measured_at``); by kind, ``exact``, ``fisher`` and
        ``two_term``, the predicted gap times M with ``KIND_stderr``; ``population_loss``.
    """
    import torch.nn.functional as F

    from bnlens.measure import report
    from bnlens.train import loader

    result = report(
        model,
        loader(train, 256),
        F.cross_entropy,
        statistics_batch_size=_GAP_SIZE,
        prediction_batch_size=_GAP_SOURCE,
        rounds=_GAP_ROUNDS,
        per_layer=False,
        max_samples=_GAP_SAMPLES,
        seed=seed,
        progress=False,
    )
    gaps = result.network.gaps
    measured = gaps.measured[_GAP_SIZE]
    found: dict[str, Any] = {
        "measured": measured.value,
        "measured_stderr": measured.stderr,
        "measured_at": _GAP_SIZE,
        "population_loss": result.network.population_loss.value,
    }
    for kind in ("exact", "fisher", "two_term"):
        estimate = result.predict(_GAP_SIZE, kind=kind).network * _GAP_SIZE
        found |= {kind: estimate.value, f"{kind}_stderr": estimate.stderr}
    return found
