"""Streams: several sets of statistics in one model, for samples of different kinds or domains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bnlens._arguments import checked
from bnlens._names import did_you_mean
from bnlens.errors import UsageError
from bnlens.nn._base import DialBatchNorm
from bnlens.nn._controls import layers_of, refuse_plain_layers
from bnlens.nn._partial_noise import PartialNoise1d, PartialNoise2d, PartialNoise3d
from bnlens.nn._scope import scoped
from bnlens.nn._state import put, settle

__all__ = ["add_streams", "stream"]


class Stream(DialBatchNorm):
    """A layer that another one normalises by in one stream, which holds it in its ``streams``."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        """Take what the layer took that it belongs to."""


class TiedStream(Stream):
    """One with the gamma and beta of the layer that it belongs to, whichever these are by now."""

    _owner: tuple[DialBatchNorm]  # in a tuple, as it is no child

    @property
    def weight(self) -> Tensor | None:  # type: ignore[override]
        """Gamma, (C,)."""
        return self._owner[0].weight

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        """Beta, (C,)."""
        return self._owner[0].bias


@checked
def add_streams(model: nn.Module, names: str | Iterable[str], *, affine: bool = False) -> int:
    """Give every bnlens layer of a model further sets of statistics, to be chosen by :func:`stream`.

    Each is a layer in ``layer.streams``, with running statistics, a count, a window and responses of its own. It begins
    with the running statistics that the layer has by now (``layer.streams[name].reset_running_stats()`` empties them), without
    a window, at the layer's statistics batch size. In the ``state_dict`` it has keys such as
    ``"bn.streams.target.running_mean"`` beside torch's; so add the same streams before loading.

    What acts on the layers of a model acts on streams too: `set_statistics_batch_size`, `freeze`, `window_state`,
    ``train()``, ``to()``. `bnlens.revert` drops them.

    Args:
        model: a model with bnlens layers, or one layer.
        names: of the new streams.
        affine: whether each has gamma and beta of its own, as in auxiliary BN (AdvProp), which begin as the layer's. They are
            parameters: add them before the optimizer is made, and with ``DistributedDataParallel`` set
            ``find_unused_parameters`` if a step leaves streams out. Otherwise the layer's are used in all streams.

    Returns:
        The number of layers that have them.

    Raises:
        UsageError: the model has no bnlens layer, or a `PartialNoise2d` or the like; or a name is none that ``nn.ModuleDict``
            takes, comes twice or is a stream already.

    Example:
        >>> import bnlens.nn
        >>> model = nn.Sequential(nn.Linear(4, 8), bnlens.nn.BatchNorm1d(8))
        >>> add_streams(model, ["target"])
        1
        >>> with stream(model, "target"):
        ...     _ = model(torch.randn(16, 4))
        >>> int(model[1].num_batches_tracked), int(model[1].streams["target"].num_batches_tracked)
        (0, 1)
    """
    layers = [layer for layer in layers_of(model) if not isinstance(layer, Stream)]
    names = [names] if isinstance(names, str) else list(names)
    for place, name in enumerate(names):
        if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict(), name):
            raise UsageError(
                f"a stream cannot be called {name!r}; give a non-empty name without dots, such as 'target'"
            )
        if name in names[:place] or any(name in layer.streams for layer in layers):
            raise UsageError(f"there is a stream {name!r} already; give each another name")
    for layer in layers:
        if isinstance(layer, PartialNoise1d | PartialNoise2d | PartialNoise3d):
            raise UsageError(f"{type(layer).__name__} has no streams; use bnlens.nn.BatchNorm2d or the like")
    for layer in layers:
        if "streams" not in layer._modules:
            layer._modules["streams"] = nn.ModuleDict()
        for name in names:
            layer.streams[name] = _copy_of(layer, affine=affine)
    return len(layers)


@torch.no_grad()
def _copy_of(layer: DialBatchNorm, *, affine: bool) -> Stream:
    """Return a stream with the settings and running statistics of ``layer``; with its gamma and beta, or copies."""
    like = next((tensor for tensor in (layer.weight, layer.running_mean) if tensor is not None), layer.skipped_batches)
    device = None if like is None else like.device
    with torch.inference_mode(False):  # or it could not be updated outside it
        new = (Stream if affine else TiedStream)(
            layer.num_features,
            layer.eps,
            layer.momentum,
            affine=False,
            track_running_stats=False,
            device=device,
            statistics_batch_size=layer.statistics_batch_size,
            sync=layer.sync,
            regime=layer.regime,
        )
        new.track_running_stats = layer.track_running_stats
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            tensor: Tensor | None = getattr(layer, name)
            new._buffers[name] = None if tensor is None else tensor.clone()
        if isinstance(new, TiedStream):
            new._owner = (layer,)
        else:
            new.affine = layer.affine
            for name in ("weight", "bias"):
                if (tensor := getattr(layer, name)) is not None:
                    new.register_parameter(name, nn.Parameter(tensor.clone(), requires_grad=tensor.requires_grad))
        new.frozen = layer.frozen
        new.train(layer.training)
        for name in ("skipped_batches", "window"):
            put(new, name, None)
        settle(new, device)  # now that it is known in which dtype
    return new


@checked
@contextmanager
def stream(model: nn.Module, name: str | None) -> Iterator[None]:
    """Use the statistics of one stream for the forward passes inside this context: train and update them, or evaluate by them.

    Outside, and with the name None, the layers use their own. For domains, labelled and unlabelled, clean and adversarial,
    real and generated samples. A model with streams a and b is two models with one set of weights: each stream has the
    statistics of what it was given, in every regime and over ranks.

    It holds in the thread that enters it, for this model and not for copies made inside. `bnlens.report` and
    `bnlens.recalibrate` inside are of the stream. With activation checkpointing the backward pass belongs inside too.

    Args:
        model: a model with bnlens layers, or one layer.
        name: of the stream, see :func:`add_streams`; None for the layers' own statistics. Layers that have other streams or
            none use their own, too.

    Raises:
        UsageError: no layer has a stream of this name, or there is another library's BN layer.

    Example:
        >>> import bnlens.nn
        >>> layer = bnlens.nn.BatchNorm1d(1, momentum=1.0)
        >>> _ = add_streams(layer, ["target"])
        >>> with stream(layer, "target"):
        ...     _ = layer(torch.tensor([[1.0], [3.0]]))
        >>> layer.running_mean.item(), layer.streams["target"].running_mean.item()
        (0.0, 2.0)
    """
    layers = layers_of(model)
    refuse_plain_layers(model, "would mix the statistics of all streams", "add streams (bnlens.add_streams)")
    known = {each for layer in layers for each in layer.streams}
    if name is not None and name not in known:
        otherwise = (
            f"the streams are {', '.join(map(repr, sorted(known)))}" if known else "bnlens.add_streams makes one"
        )
        raise UsageError(f"there is no stream {name!r}; {did_you_mean(str(name), known, otherwise)}")
    changes: dict[Any, dict[str, Any]] = {
        layer: {"stream": name if name in layer.streams else None} for layer in layers if not isinstance(layer, Stream)
    }
    with scoped(changes):
        yield
