"""The base of the layers of all dimensions."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.errors import UsageError
from bnlens.nn._ghost import group_sizes, normalise_by_groups
from bnlens.nn._one_value import refuse_one_value
from bnlens.nn._ranks import check_sync, gather_joint_batch, sync_group
from bnlens.nn._scope import Scope
from bnlens.nn._shared import Shared, empty_responses, normalise_by_shared
from bnlens.nn._statistics import BatchStatistics, batch_statistics, check_eps, normalise_by_batch
from bnlens.nn._sync import normalise_by_joint_batch, normalise_by_joint_groups
from bnlens.nn._window import advance_window, empty_window, normalise_by_window, window_of_batch, window_weight

__all__ = ["DialBatchNorm", "Normalise", "check_statistics_batch_size"]

Normalise: TypeAlias = Callable[[Tensor, Tensor, Tensor, float, BatchStatistics, Tensor], Tensor]
"""From input, gamma, beta, epsilon, batch statistics and window, as `normalise_by_window` takes them, to the output."""


def check_statistics_batch_size(value: Any) -> float | None:
    """Return ``value`` as None, an int from 2 on, or ``math.inf``; raise UsageError where it is none of these."""
    if value is None or (isinstance(value, float) and value == math.inf):
        return value
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 2:
        return int(value)
    raise UsageError(f"statistics_batch_size is {value!r}; it must be None, an int of at least 2, or math.inf")


class DialBatchNorm(_BatchNorm):
    """The base of the layers of all dimensions, for ``isinstance``; see :class:`bnlens.nn.BatchNorm2d`."""

    window: Tensor | None
    responses: Tensor | None
    skipped_batches: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        statistics_batch_size: float | None = None,
        sync: bool | dist.ProcessGroup = False,
        **kwargs: Any,
    ) -> None:
        self._statistics_batch_size = check_statistics_batch_size(statistics_batch_size)
        self._sync = check_sync(sync)
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, **kwargs)
        # Not in the state_dict: its keys are torch's. The last two are None while the layer has no use for them
        # (last because torch.export cannot name a buffer that follows one of None).
        window = empty_window(num_features, **self._place(device, dtype)) if self._has_window() else None
        self.register_buffer("skipped_batches", torch.zeros((), dtype=torch.long, device=device), persistent=False)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("responses", None, persistent=False)
        self.frozen = False
        self._warned = False
        self._earlier_window: Tensor | None = None
        self._scope: Scope | None = None  # while the layer is in a context such as `shared_statistics`
        self._renormalise: Normalise = normalise_by_window  # a regulariser puts its own in place for a forward pass

    @property
    def statistics_batch_size(self) -> float | None:
        """M, the ghost or virtual batch size: None for the batch at hand, an int from 2 on, or ``math.inf``.

        Setting it empties the window.

        Raises:
            UsageError: (when set) the value is none of these.
        """
        return self._statistics_batch_size

    @statistics_batch_size.setter
    def statistics_batch_size(self, value: float | None) -> None:
        self._statistics_batch_size = check_statistics_batch_size(value)
        self._warned = False
        self.reset_window()

    @property
    def sync(self) -> bool | dist.ProcessGroup:
        """Whether statistics are over ranks: False, True (the default process group) or a group; setting it empties the window.

        Raises:
            UsageError: (when set) the value is none of these.
        """
        return self._sync

    @sync.setter
    def sync(self, value: bool | dist.ProcessGroup) -> None:
        self._sync = check_sync(value)
        self._warned = False
        self.reset_window()

    @property
    def window_samples(self) -> float:
        """Samples that the window is worth by now, one over the sum of their squared weights; 0 when it is empty."""
        concentration = 0.0 if self.window is None else float(self.window[3, 0])
        return 1 / concentration if concentration else 0.0

    def train(self, mode: bool = True) -> DialBatchNorm:
        """Set the mode; a frozen layer stays in eval mode (see :func:`bnlens.freeze`)."""
        super().train(mode and not self.frozen)
        return self

    def reset_window(self) -> None:
        """Empty the window and the responses: the next batch is normalised as if it were the first."""
        self.responses = self._earlier_window = None
        if not self._has_window():
            self.window = None
        elif self.window is None:
            self.window = self._allocated(empty_window)
        else:
            self.window.zero_()

    def reset_running_stats(self) -> None:
        """Reset the running statistics, the window and the count of skipped batches."""
        super().reset_running_stats()
        if "window" in self._buffers:  # not yet when torch's __init__ calls this
            self.reset_window()
            self.skipped_batches.zero_()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise ``input``, (N, C, ...): in eval mode exactly as torch does."""
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if self.training:
            check_eps(self.eps)
        if self.training and self._scope is not None and (shared := self._shared()) is not None:
            return self._forward_shared(input, shared)
        if self.training and (group := self._sync_group()) is not None:
            return self._forward_joint(input, group)
        samples, values = input.shape[0], input.numel()
        if not self.training or values == 0:
            return self._forward_native(input)
        if values == input.shape[1]:
            refuse_one_value(input, self.window)
        M = self._statistics_batch_size
        weight, bias = self._affine(input)
        if M is not None and samples < M:
            return self._forward_window(input, weight, bias, samples, M)
        sizes = [samples] if M is None else group_sizes(samples, int(M))
        if len(sizes) == 1:
            y, batch = normalise_by_batch(input, weight, bias, self.eps)
        else:
            y, batch = normalise_by_groups(input, weight, bias, self.eps, sizes)
        if not _in_backward():
            self._track(batch, None if M is None else window_of_batch(batch, samples))
        return y

    def _forward_native(self, x: Tensor) -> Tensor:
        if not self.training:
            result: Tensor = super().forward(x)
            return result
        return torch.nn.functional.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _forward_window(self, x: Tensor, weight: Tensor, bias: Tensor, samples: int, M: float) -> Tensor:
        batch = batch_statistics(x)
        return self._renormalise(x, weight, bias, self.eps, batch, self._advance(batch, samples, M))

    @_disable_dynamo  # it is torch.compiler.disable, which imports the compiler when this is called and not before
    def _forward_shared(self, x: Tensor, shared: Shared) -> Tensor:
        """Normalise by statistics that this micro-batch shares with others, or find these; see `bnlens.nn._shared`."""
        if self._renormalise is not normalise_by_window:
            raise UsageError(
                "explicit regularisers watch the statistics of windows; leave shared_statistics to use them"
            )
        if x.numel() == 0:
            return self._forward_native(x)
        weight, bias = self._affine(x)
        if shared.taken:
            batch = shared.of(x.shape[0])
            if self.responses is None:
                self.responses = self._allocated(empty_responses)
            return normalise_by_shared(x, weight, bias, self.eps, batch, self.responses)
        if x.numel() == x.shape[1]:
            refuse_one_value(x)
        y, batch = normalise_by_batch(x, weight, bias, self.eps)
        shared.take(batch, x.shape[0], self._statistics_batch_size)
        self._track(batch, window_of_batch(batch, x.shape[0]) if self._has_window() else None)
        return y

    @_disable_dynamo
    def _forward_joint(self, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        """Normalise this rank's samples by statistics over the ranks of ``group``; see `bnlens.nn._sync`."""
        if self._renormalise is not normalise_by_window:
            raise UsageError(
                "explicit regularisers watch the statistics of one rank; set sync=False on the model's layers to use them"
            )
        M = self._statistics_batch_size
        joint = gather_joint_batch(x, group, M)
        samples, batch = sum(joint.samples), joint.statistics
        if samples == 0:
            return self._forward_native(x)
        if batch.values == 1:
            refuse_one_value(x, self.window)
        weight, bias = self._affine(x)
        if M is not None and samples < M:
            return normalise_by_joint_batch(x, weight, bias, self.eps, joint, self._advance(batch, samples, M))
        sizes = [samples] if M is None else group_sizes(samples, int(M))
        if len(sizes) == 1:
            y = normalise_by_joint_batch(x, weight, bias, self.eps, joint)
        else:
            y = normalise_by_joint_groups(x, weight, bias, self.eps, joint, sizes)
        if not _in_backward():
            self._track(batch, None if M is None else window_of_batch(batch, samples))
        return y

    @_disable_dynamo
    def _shared(self) -> Shared | None:
        return None if self._scope is None or not self._scope.is_here else self._scope.shared

    def _sync_group(self) -> dist.ProcessGroup | None:
        return sync_group(self._sync)

    def _advance(self, batch: BatchStatistics, samples: int, M: float) -> Tensor:
        """Return the window with ``batch`` in it, kept unless this is a forward pass run again."""
        if 4 * samples < M < math.inf:
            self._warn(samples, M)
        earlier = self._earlier_window if _in_backward() else None
        before = self.window if earlier is None else earlier
        assert before is not None  # noqa: S101 - a layer that comes here has a window
        window = advance_window(before, batch, samples, window_weight(samples, M))
        if earlier is None:
            if not torch.compiler.is_compiling():
                self._earlier_window = before.clone()
            self._track(batch, window)
        return window

    def _has_window(self) -> bool:
        """Return whether the layer may have to normalise by a window: with an M, batches can be smaller than it."""
        return self._statistics_batch_size is not None

    def _allocated(self, empty: Callable[..., Tensor]) -> Tensor:
        like = next((tensor for tensor in (self.weight, self.running_mean, self.window) if tensor is not None), None)
        with torch.inference_mode(False):  # or it could not be updated outside it
            dtype = None if like is None else like.dtype
            return empty(self.num_features, **self._place(self.skipped_batches.device, dtype))

    @staticmethod
    def _place(device: Any, dtype: torch.dtype | None) -> dict[str, Any]:
        return {"device": device, "dtype": _at_least_float32(dtype)}

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return gamma and beta, (C,) each, in float32 or wider, so that the kernels take statistics in it too."""
        like = x.new_empty(x.shape[1]) if self.weight is None else self.weight
        weight = torch.ones_like(like) if self.weight is None else self.weight
        bias = torch.zeros_like(like) if self.bias is None else self.bias
        dtype = _at_least_float32(like.dtype)
        return weight.to(dtype), bias.to(dtype)

    @torch.no_grad()
    def _track(self, batch: BatchStatistics, window: Tensor | None) -> None:
        """Update running statistics and window, unless the batch is not finite."""
        if window is None and not self.track_running_stats:
            return
        finite = batch.variance.amax() < math.inf  # and no NaN; where a mean is not finite, the variance is not
        if window is not None and self.window is not None:
            self.window.copy_(torch.where(finite, window, self.window))
        self.skipped_batches.add_(~finite)
        if self.running_mean is None or self.running_var is None or not self.track_running_stats:
            return
        if batch.values == 1:  # without Bessel variance
            return
        factor: float | Tensor = 0.0 if self.momentum is None else self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(finite)
            if self.momentum is None:
                factor = 1 / self.num_batches_tracked.clamp_min(1).to(self.running_mean.dtype)
        for running, value in ((self.running_mean, batch.mean), (self.running_var, batch.bessel_variance)):
            running.lerp_(torch.where(finite, value, running).to(running.dtype), factor)

    def announce_batch(self, samples: int, M: float) -> None:
        """Warn now if batches are small for the M of a network; the layer no longer warns by its own, which may be larger."""
        if 4 * samples < M < math.inf:
            self._warn(samples, M)
        self._warned = True

    def _warn(self, samples: int, M: float) -> None:
        if self._warned or torch.compiler.is_compiling():
            return
        self._warned = True
        warnings.warn(
            f"batches of {samples} samples for a statistics batch size of {M}: below {M}/4 a network trains differently "
            f"from one with batches of {M}",
            UserWarning,
            stacklevel=2,
        )

    def extra_repr(self) -> str:
        """Return torch's arguments, then those that differ from a plain BN layer's."""
        parts = [super().extra_repr()]  # type: ignore[no-untyped-call]
        if self._statistics_batch_size is not None:
            parts.append(f"statistics_batch_size={self._statistics_batch_size}")
        if self._sync is not False:
            parts.append(f"sync={self._sync if self._sync is True else type(self._sync).__name__}")
        if self.frozen:
            parts.append("frozen=True")
        if not self.skipped_batches.is_meta:
            if 0 < self.window_samples < (self._statistics_batch_size or 0) < math.inf:
                parts.append(f"window_samples={self.window_samples:.3g}")
            if skipped := int(self.skipped_batches):
                parts.append(f"skipped_batches={skipped}")
        return ", ".join(parts)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DialBatchNorm:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name in ("window", "responses"):
            if (buffer := self._buffers[name]) is not None:
                self._buffers[name] = buffer.to(_at_least_float32(buffer.dtype))
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.reset_window()  # it describes the weights that were there before


def _at_least_float32(dtype: torch.dtype | None) -> torch.dtype:
    return torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)


def _in_backward() -> bool:
    """Return whether activation checkpointing runs this forward pass again, whose statistics are in already."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
