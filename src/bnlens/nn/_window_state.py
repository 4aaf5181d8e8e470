"""Windows in checkpoints: what layers keep from batch to batch beside their state_dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.nn._base import DialBatchNorm
from bnlens.nn._controls import layers_of
from bnlens.nn._responses import Responses
from bnlens.nn._state import put, settle

__all__ = ["load_window_state", "window_state"]


@checked
def window_state(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return what the layers keep from batch to batch beside their ``state_dict``; with it a resumed run is as one never cut.

    Save it beside the model's ``state_dict``. In a job of several ranks each rank has windows of its own.

    Args:
        model: a model with bnlens layers, or one layer.

    Returns:
        For each layer's path: ``window`` (4, C), or None where M is; ``skipped_batches``; and ``responses``, the averages of
        `bnlens.shared_statistics`. Copies, tensors in dicts, which ``torch.load(weights_only=True)`` reads.

    Raises:
        UsageError: there is no bnlens layer.

    Example:
        >>> import torch, bnlens.nn
        >>> make = lambda: nn.Sequential(nn.Linear(4, 8), bnlens.nn.BatchNorm1d(8, statistics_batch_size=64))
        >>> model, resumed, x = make(), make(), torch.randn(2, 16, 4)
        >>> _ = model(x[0])
        >>> _ = resumed.load_state_dict(model.state_dict())
        >>> load_window_state(resumed, window_state(model))
        >>> torch.equal(resumed(x[1]), model(x[1]))
        True
    """
    layers_of(model)
    return {path: _state_of(layer) for path, layer in _named(model).items()}


@checked
def load_window_state(model: nn.Module, state: Mapping[str, Mapping[str, Any]]) -> None:
    """Put back what :func:`window_state` returned, all or none; load the ``state_dict`` first, which empties windows.

    Args:
        model: a model with the same bnlens layers, at the same statistics batch sizes.
        state: of `window_state`; tensors may be on any device.

    Raises:
        UsageError: the layers are not those of ``state``, or differ in the number of channels or in having a window.
    """
    layers_of(model)
    layers = _named(model)
    if missing := sorted(set(layers) ^ set(state)):
        where = "the state" if missing[0] in layers else "the model"
        raise UsageError(f"layer {missing[0]!r} is not in {where}; load the window state of the same model")
    for path, layer in layers.items():
        settle(layer)
        window = state[path]["window"]
        if (window is None) == layer._has_window():
            raise UsageError(
                f"layer {path!r} has statistics_batch_size={layer.statistics_batch_size}, and the one that was saved had "
                f"{'no' if window is None else 'a'} window; set the statistics batch size of the saved model first"
            )
        if window is not None and window.shape[1] != layer.num_features:
            raise UsageError(
                f"layer {path!r} has {layer.num_features} channels, and its window {window.shape[1]}; load that of the same "
                "model"
            )
    for path, layer in layers.items():
        saved = state[path]
        for name in ("skipped_batches", "window"):
            if (value := saved[name]) is not None:
                put(layer, name, value.to(getattr(layer, name), copy=True))
        layer.responses = {name: Responses(**_copied(tensors)) for name, tensors in saved["responses"].items()}


def _named(model: nn.Module) -> dict[str, DialBatchNorm]:
    return {path: layer for path, layer in model.named_modules() if isinstance(layer, DialBatchNorm)}


def _state_of(layer: DialBatchNorm) -> dict[str, Any]:
    settle(layer)
    return _copied({"window": layer.window, "skipped_batches": layer.skipped_batches}) | {
        "responses": {name: _copied(vars(responses)) for name, responses in layer.responses.items()}
    }


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in values.items()}
