"""The dial on whole models: their statistics batch size, and freezing."""

from __future__ import annotations

import math

import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._arguments import Count, checked
from bnlens.errors import UsageError
from bnlens.nn._base import DialBatchNorm, StatisticsBatchSize
from bnlens.nn._folded_rows import watch_rows
from bnlens.nn._regime import Regime
from bnlens.nn._window import matching_window

__all__ = ["freeze", "layers_of", "refuse_plain_layers", "set_statistics_batch_size", "unfreeze"]


@checked
def set_statistics_batch_size(
    model: nn.Module,
    statistics_batch_size: StatisticsBatchSize,
    *,
    device_batch_size: Count | None = None,
    sync: bool | dist.ProcessGroup | None = None,
    regime: Regime | None = None,
) -> int:
    """Set the statistics batch size of every bnlens layer of a live model and empty their windows.

    Args:
        model: a model, or one layer. Parameters, running statistics, mode and optimizer state stay as they are.
        statistics_batch_size: M; None (the batch at hand), an int from 2 on, or ``math.inf``.
        device_batch_size: m, samples per forward pass (with ``sync``, of all ranks). Where it is below a finite M, the layers'
            windows are over the more than M samples that make the network about as noisy as BN over M
            (:func:`bnlens.nn.matching_window`) and their ``statistics_batch_size`` is that number. When not given, each
            layer has the noise of M samples.
        sync: True or a process group for statistics over ranks, so that M counts the samples of all of them; False for
            those of this rank; None leaves it to each layer as it is. Call it on every rank.
        regime: ``"ghost"`` fixes the layers to groups of exactly M, ``"window"`` to windows, for graphs that are exported with
            a dynamic batch; a batch that does not fit is refused. ``"auto"`` goes by the samples at hand, as layers do from the
            start; None leaves it to each layer as it is.

    Returns:
        The number of layers; a layer used in several places counts once.

    Raises:
        UsageError: a value is none of these, or the model has no bnlens layer.

    Warns:
        UserWarning: ``device_batch_size`` is below M / 4; later, in the first training pass, if layers have several rows for
            each sample that the model is given.

    Example:
        >>> import bnlens.nn
        >>> model = nn.Sequential(nn.Linear(4, 8), bnlens.nn.BatchNorm1d(8), nn.ReLU())
        >>> set_statistics_batch_size(model, 32)
        1
        >>> model[1]
        BatchNorm1d(8, eps=1e-05, momentum=0.1, ..., statistics_batch_size=32)
        >>> set_statistics_batch_size(model, 64, device_batch_size=16), model[1].statistics_batch_size
        (1, 122)
    """
    M = window = statistics_batch_size
    if device_batch_size is not None and M is not None and math.inf > M:
        window = matching_window(int(M), device_batch_size)
    layers = layers_of(model)
    for layer in layers:
        layer.statistics_batch_size = window
        if regime is not None:
            layer.regime = regime
        if sync is not None:
            layer.sync = sync
        if device_batch_size is not None and M is not None:
            layer.announce_batch(device_batch_size, M)
    if M is not None and math.inf > M:
        watch_rows(model)
    return len(layers)


@checked
def freeze(model: nn.Module) -> int:
    """Keep every BN layer in eval mode, also after ``model.train()``: running statistics are used and do not change.

    Gamma and beta still train; set ``requires_grad`` to keep them too. Whatever comes keeps the running statistics, in any
    mode of the model: `bnlens.recalibrate`, `bnlens.report`, ``torch.optim.swa_utils.update_bn``, ``reset_running_stats``, a
    change of the statistics batch size. Only ``load_state_dict`` sets them. A copy of the model is frozen as well, a
    ``state_dict`` does not carry it.

    Args:
        model: a model whose BN layers are bnlens layers, or one layer.

    Returns:
        The number of layers.

    Raises:
        UsageError: there is no bnlens layer, or there is a BN layer of another library, which the next ``train()`` would
            set back, or a layer keeps no running statistics.

    Example:
        >>> import bnlens.nn
        >>> model = nn.Sequential(nn.Linear(4, 8), bnlens.nn.BatchNorm1d(8))
        >>> freeze(model), model.train()[1].training
        (1, False)
        >>> unfreeze(model), model[1].training
        (1, True)
    """
    layers = layers_of(model)
    refuse_plain_layers(model, "train() would set back", "freeze it again")
    for name, module in model.named_modules():
        if isinstance(module, DialBatchNorm) and module.running_mean is None:
            raise UsageError(
                f"layer {name or type(module).__name__!r} keeps no running statistics to freeze; "
                "build it with track_running_stats=True"
            )
    for layer in layers:
        layer.frozen = True
        layer.eval()
    return len(layers)


@checked
def unfreeze(model: nn.Module) -> int:
    """Undo :func:`freeze`: frozen layers take the mode of ``model``; a layer given alone goes to train mode.

    The window is emptied, because it describes the weights of before.

    Args:
        model: a model, or one layer.

    Returns:
        The number of bnlens layers, frozen or not.

    Raises:
        UsageError: there is no bnlens layer.
    """
    layers = layers_of(model)
    for layer in layers:
        if layer.frozen:
            layer.frozen = False
            layer.train(model.training or layer is model)
            layer.reset_window()
    return len(layers)


def layers_of(model: nn.Module) -> list[DialBatchNorm]:
    """Return every bnlens layer of a model, once; raise UsageError where there is none."""
    layers = [module for module in model.modules() if isinstance(module, DialBatchNorm)]
    if not layers:
        plain = next((name for name, module in model.named_modules() if isinstance(module, _BatchNorm)), None)
        if plain is None:
            raise UsageError(
                f"{type(model).__name__} has no BN layer at all; give a model that has layers of bnlens.nn"
            )
        raise UsageError(
            f"{type(model).__name__} has BN layers of torch only, such as {plain!r}; convert it (bnlens.convert) or build it "
            "with the layers of bnlens.nn"
        )
    return layers


def refuse_plain_layers(model: nn.Module, which: str, then: str) -> None:
    """Raise UsageError where a BN layer is not a bnlens layer: it ``which``, and the user should convert it ``then``."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, DialBatchNorm):
            raise UsageError(
                f"layer {name!r} is {type(module).__module__}.{type(module).__name__}, which {which}; "
                f"convert the model first (bnlens.convert) and {then}"
            )
