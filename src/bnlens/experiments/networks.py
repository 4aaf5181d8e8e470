"""A net trained and looked at closely: losses, curves, weight norms, single neurons and the gap."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from bnlens.experiments._training import Penalty

__all__ = [
    "check_weight_norm",
    "train_network",
    "train_network_with_curvature_penalty",
    "train_network_with_gamma_decay",
    "train_network_with_noise",
    "train_network_with_weight_norm",
]

_CURVE_IMAGES = 2000  # test images of the curves; the final numbers are over all
_GAP_SIZE, _GAP_SOURCE, _GAP_SAMPLES, _GAP_ROUNDS = 16, 32, 2048, 2


def train_network(*, scratch: Path | None = None, **config: Any) -> dict[str, Any]:
    """Train one net and measure loss, curves, weight norms, single neurons and, of population layers, the gap.

    The seed sets the initial weights, which images are trained on and their order, and nothing else does but for dropout:
    runs of one seed that differ in how they normalise are pairs.

    Args:
        scratch: a folder for the checkpoint, from which a run that was cut goes on.
        **config: ``net``, name of the net, see `bnlens.train.build_net`; ``data``, ``"digits"`` or the folder of CIFAR-10;
            ``samples``, training images, the same number of each class; ``epochs``, passes over them; ``batch_size``, images
            per optimizer step; ``lr``, the largest learning rate; ``augment``, whether to train on random crops and flips;
            ``statistics_batch_size``, M, an int or ``"inf"``, and with a penalty the M that it stands for, on population
            layers; ``device_batch_size``, images per forward pass; ``regulariser``, the name of the penalty or None;
            ``noise``, None, or ``"mean"`` or ``"std"`` where only this statistic carries the noise of M samples;
            ``dropout``, probability before the last layer; ``seed``.

    Returns:
        What `bnlens.experiments._training.losses` gives; ``steps``, their number; ``curve``, one dict per epoch with ``epoch``,
        ``steps_loss`` (mean of the steps' losses as trained), ``lr`` (mean over the steps), ``test_loss`` and
        ``test_accuracy`` (on 2,000 images, with the moving averages), ``weight_norm`` (of each weight but the last layer's);
        ``neurons``, see `measure_neurons`; ``gap``, see `_gap`, or None where the layers are not the population's.
    """
    return _trained(scratch, **config)


def train_network_with_gamma_decay(*, scratch: Path | None = None, **config: Any) -> dict[str, Any]:
    """Train as `train_network` does, on population layers with gamma decay."""
    from bnlens.nn import GammaDecay

    return _trained(scratch, penalty=GammaDecay, **config)


def train_network_with_curvature_penalty(*, scratch: Path | None = None, **config: Any) -> dict[str, Any]:
    """Train as `train_network` does, on population layers with the curvature penalty."""
    from bnlens.nn import CurvaturePenalty

    return _trained(scratch, penalty=CurvaturePenalty, **config)


def train_network_with_noise(*, noise: str, scratch: Path | None = None, **config: Any) -> dict[str, Any]:
    """Train as `train_network` does, with noise in one statistic alone."""
    from bnlens.nn import use_partial_noise

    def prepare(model: nn.Module) -> object:
        return use_partial_noise(model, noise)  # type: ignore[arg-type]  # JSON has no literal types

    return _trained(scratch, prepare=prepare, noise=noise, **config)


def train_network_with_weight_norm(
    *,
    scratch: Path | None = None,
    net: str,
    data: str,
    samples: int,
    weight_norm: bool,
    statistics_batch_size: int | str,
    device_batch_size: int,
    regulariser: None,
    noise: str | None,
    dropout: float,
    seed: int,
    **recipe: Any,
) -> dict[str, Any]:
    """Train as `train_network` does, with weight normalization in place of BN, alone or with noise in one batch statistic.

    Runs start from the directions of the weights of the BN net of the same seed, see `bnlens.experiments._weight_norm`, and
    are evaluated by the population's statistics at the final weights, as its are.

    Args:
        scratch: as there.
        net: one whose BN layers follow a convolution or linear layer.
        data: as there.
        samples: as there.
        weight_norm: True.
        statistics_batch_size: M of the noise; ``"inf"`` without noise.
        device_batch_size: images per forward pass, M or more.
        regulariser: None.
        noise: None, ``"mean"`` (mean-only batch normalization) or ``"std"`` (variance-only).
        dropout: as there.
        seed: as there.
        **recipe: as there.

    Returns:
        As there, with the gains as ``gamma``, and without ``neurons`` and ``gap``.
    """
    # the plan names what the function does
    assert weight_norm and (noise is None) == (statistics_batch_size == "inf") and regulariser is None  # noqa: S101, PT018
    from bnlens.experiments._training import build, losses, train
    from bnlens.experiments._weight_norm import WeightNormGain, settle_statistics, use_weight_norm
    from bnlens.train import load_data

    images, test = load_data(data, samples=samples, seed=seed), load_data(data, split="test")
    M = None if noise is None else int(statistics_batch_size)
    model = build(images, net, seed=seed, dropout=dropout, prepare=lambda model: use_weight_norm(model, noise, M))
    settle_statistics(model, images, start=True)
    curve = _Curve(test, scratch)
    observe = curve.observer(len(images) // recipe["batch_size"])
    checkpoint = None if scratch is None else scratch / "run.pt"
    recipe |= {"statistics_batch_size": device_batch_size, "seed": seed, "checkpoint": checkpoint, "observe": observe}
    history = train(model, images, **recipe)
    settle_statistics(model, images)
    gains = [module.weight.detach() for module in model.modules() if isinstance(module, WeightNormGain)]
    return {
        **losses(model, images, test),
        "gamma": [float(gain.square().mean().sqrt()) for gain in gains],
        "steps": history.steps,
        "curve": curve.rows(history.loss, history.learning_rate),
    }


def check_weight_norm(net: str) -> None:
    """Raise where `train_network_with_weight_norm` cannot train that net.

    Raises:
        UsageError: there is no such net, or it has BN layers that do not follow a convolution or linear layer.
    """
    from bnlens.experiments._weight_norm import use_weight_norm
    from bnlens.train import build_net

    use_weight_norm(build_net(net, input_shape=(3, 32, 32), num_classes=10), None, None)


def _trained(
    scratch: Path | None,
    *,
    penalty: Penalty | None = None,
    prepare: Callable[[nn.Module], object] | None = None,
    net: str,
    data: str,
    samples: int,
    regulariser: str | None,
    noise: str | None,
    dropout: float,
    seed: int,
    **recipe: Any,
) -> dict[str, Any]:
    # the plan names what the function does
    assert (penalty is None) == (regulariser is None) and (prepare is None) == (noise is None)  # noqa: S101, PT018
    from bnlens.experiments._neurons import measure_neurons
    from bnlens.experiments._training import POPULATION, build, losses, train
    from bnlens.train import load_data

    images, test = load_data(data, samples=samples, seed=seed), load_data(data, split="test")
    model = build(images, net, seed=seed, dropout=dropout, prepare=prepare)
    curve = _Curve(test, scratch)
    observe = curve.observer(len(images) // recipe["batch_size"])
    checkpoint = None if scratch is None else scratch / "run.pt"
    history = train(model, images, penalty=penalty, seed=seed, checkpoint=checkpoint, observe=observe, **recipe)
    is_plain = recipe["statistics_batch_size"] == POPULATION and penalty is None and prepare is None
    return {
        **losses(model, images, test),
        "steps": history.steps,
        "curve": curve.rows(history.loss, history.learning_rate),
        "neurons": measure_neurons(model, images, test),
        "gap": _gap(model, images, seed) if is_plain else None,
    }


class _Curve:
    """Measures a net after each epoch, and keeps the numbers beside the checkpoint for a run that goes on."""

    def __init__(self, test: Any, scratch: Path | None) -> None:
        import torch

        rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:_CURVE_IMAGES]
        self._test = _rows_of(test, rows)
        self._file = None if scratch is None else scratch / "curve.json"
        self._rows: dict[str, dict[str, Any]] = {}
        self._per_epoch = 1
        if self._file is not None and self._file.is_file():
            self._rows = json.loads(self._file.read_text(encoding="utf-8"))

    def observer(self, per_epoch: int) -> Any:
        """For `fit`: measures at the end of an epoch of that many steps."""
        from bnlens._files import write_atomic
        from bnlens.experiments._weights import weight_norms
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
            trained = dict(zip(("steps_loss", "lr"), means, strict=True))
            found.append({"epoch": int(epoch), **trained, **self._rows[epoch]})
        return found


def _rows_of(data: Any, rows: Any) -> Any:
    from dataclasses import replace

    return replace(data, images=data.images[rows], labels=data.labels[rows])


def _gap(model: Any, train: Any, seed: int) -> dict[str, Any]:
    """The gap at fixed weights: measured at M = 16, and coefficients of 1/M predicted from groups of another size.

    Returns:
        ``measured`` with ``measured_stderr`` (nats per image, at ``measured_at``); by kind, ``exact`` (the first-order law; the
        name is that of stored runs), ``fisher`` and ``two_term``, the predicted gap times M with ``KIND_stderr``;
        ``population_loss``.
    """
    import torch.nn.functional as F

    from bnlens.measure import report
    from bnlens.train import loader

    options: dict[str, Any] = {"statistics_batch_size": _GAP_SIZE, "prediction_batch_size": _GAP_SOURCE}
    options |= {"rounds": _GAP_ROUNDS, "max_samples": _GAP_SAMPLES, "fisher": True, "progress": False}
    options |= {"shares": False}
    result = report(model, loader(train, 256), F.cross_entropy, seed=seed, **options)
    gaps = result.network.gaps
    measured = gaps.measured[_GAP_SIZE]
    found: dict[str, Any] = {
        "measured": measured.value,
        "measured_stderr": measured.stderr,
        "measured_at": _GAP_SIZE,
        "population_loss": result.network.population_loss.value,
    }
    for name, kind in (("exact", "first_order"), ("fisher", "fisher"), ("two_term", "two_term")):
        estimate = result.predict(_GAP_SIZE, kind=kind).network * _GAP_SIZE
        found |= {name: estimate.value, f"{name}_stderr": estimate.stderr}
    return found
