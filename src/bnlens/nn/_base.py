"""The base of the layers of all dimensions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._arguments import AtLeastTwo, Infinite, Range, Whole, check, checked
from bnlens._devices import Device
from bnlens._masks import valid_values
from bnlens.errors import UsageError
from bnlens.nn._ghost import group_sizes
from bnlens.nn._graphs import is_exporting
from bnlens.nn._masked import count_valid, few_values, group_statistics, normalise_valid
from bnlens.nn._one_value import holds_a_batch, refuse_one_value
from bnlens.nn._ranks import gather_joint_batch, sync_group
from bnlens.nn._recomputation import Passes, in_backward, in_export, is_checkpointed, unrecorded
from bnlens.nn._regime import Regime, by_window, normalise_at_hand
from bnlens.nn._responses import Responses
from bnlens.nn._scope import Order, Scope
from bnlens.nn._shared import Shared, normalise_by_shared
from bnlens.nn._state import at_least_float32, carry, is_settled, settle, unpack
from bnlens.nn._statistics import BatchStatistics, batch_statistics, check_eps, normalise_by_batch
from bnlens.nn._strides import are_open, with_plain_gradient, with_plain_strides
from bnlens.nn._sync import normalise_by_joint_batch, normalise_by_joint_groups
from bnlens.nn._tools import LEAF, introduce, refuse_script, warn_of_conversion
from bnlens.nn._window import advance_window, is_sound, normalise_by_window, window_of_batch, window_weight

__all__ = ["DialBatchNorm", "Normalise", "StatisticsBatchSize"]

Normalise: TypeAlias = Callable[[Tensor, Tensor, Tensor, float, BatchStatistics, Tensor], Tensor]
"""From input, gamma, beta, epsilon, batch statistics and window, as `normalise_by_window` takes them, to the output."""


StatisticsBatchSize: TypeAlias = AtLeastTwo | Infinite | None
"""M: an int from 2 on, ``math.inf`` for the population, or None for the batch at hand."""


class DialBatchNorm(_BatchNorm):
    """The base of the layers of all dimensions, for ``isinstance``; see :class:`bnlens.nn.BatchNorm2d`."""

    window: Tensor | None
    skipped_batches: Tensor

    @checked
    def __init__(
        self,
        num_features: Whole,
        eps: float = 1e-5,
        momentum: Annotated[float, Range(0, 1)] | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
        *,
        statistics_batch_size: StatisticsBatchSize = None,
        sync: bool | dist.ProcessGroup = False,
        regime: Regime = "auto",
        **kwargs: Any,
    ) -> None:
        if dtype is not None and not dtype.is_floating_point:
            raise UsageError(f"dtype is {dtype}; gamma and beta take a floating-point one, such as torch.float32")
        self._statistics_batch_size = statistics_batch_size
        self._sync = sync
        self._regime: Regime = regime
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, **kwargs)
        for name in ("skipped_batches", "window"):  # not in the state_dict: its keys are torch's
            self.register_buffer(name, None, persistent=False)
        place = torch.empty(0, device=device).device
        settle(self, None if place.type == "meta" else place)
        self.responses: dict[str | None, Responses] = {}
        self.__module__ = LEAF
        self.frozen = False
        self._warned = False
        self._passes = Passes()
        self._traced: Passes | None = None
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
        self._statistics_batch_size = check("statistics_batch_size", value, StatisticsBatchSize)
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
        self._sync = check("sync", value, bool | dist.ProcessGroup)
        self._warned = False
        self.reset_window()

    @property
    def regime(self) -> Regime:
        """Whether groups or a window normalise: ``"auto"`` by the samples at hand, or always ``"ghost"`` or ``"window"``.

        Raises:
            UsageError: (when set) the value is none of these.
        """
        return self._regime

    @regime.setter
    def regime(self, value: Regime) -> None:
        self._regime = check("regime", value, Regime)

    @property
    def streams(self) -> Any:
        """The layers that it normalises by in its streams, by name; see :func:`bnlens.add_streams`."""
        return self._modules.get("streams", {})

    @property
    def window_samples(self) -> float:
        """Samples that the window is worth by now, one over the sum of their squared weights; 0 when it is empty."""
        concentration = 0.0 if self.window is None else float(self.window[3, 0])
        return 1 / concentration if concentration else 0.0

    def train(self, mode: bool = True) -> DialBatchNorm:
        """Set the mode; a frozen layer stays in eval mode (see :func:`bnlens.freeze`)."""
        super().train(mode and not self.frozen)
        settle(self)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a copy, or of a layer that was saved."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        unpack(self)

    def reset_window(self) -> None:
        """Empty the window and the responses: the next batch is normalised as if it were the first."""
        self.responses = {}
        if not self._has_window():
            self.window = None
        elif self.window is not None:
            self.window.zero_()
        settle(self)

    def reset_running_stats(self) -> None:
        """Reset the running statistics, the window and the count of skipped batches; a frozen layer keeps them all."""
        if vars(self).get("frozen"):  # not there yet when torch's __init__ calls this
            return
        super().reset_running_stats()
        if "frozen" in vars(self):  # not yet when torch's __init__ calls this
            self.reset_window()
            if self.skipped_batches is not None:
                self.skipped_batches.zero_()

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:  # noqa: A002 - torch's name
        """Normalise ``input``, (N, C, ...): in eval mode exactly as torch does.

        With ``mask``, bool, (N, ...) or (N, 1, ...), or lengths, only the values that it marks enter the statistics; see
        :func:`bnlens.masked`.
        """
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if are_open(input):
            return with_plain_gradient(self._forward(with_plain_strides(input), mask))
        return self._forward(input, mask)

    def _forward(self, input: Tensor, mask: Tensor | None) -> Tensor:  # noqa: A002 - torch's name
        scope = self._scope
        if scope is not None and scope.in_stream:
            y: Tensor = self.streams[scope.stream](input, mask)
            return y
        if self.frozen:  # whatever has set the mode
            return self._forward_native(input)
        if self.training:
            check_eps(self.eps)
            if not is_settled(self, input.dtype):
                settle(self, input.device, input.dtype)
            if scope is not None and scope.order is not None and (order := self._order()) is not None:
                return order(input, self.valid_values(input, mask))
        if (mask is not None or (scope is not None and scope.mask is not None)) and (
            self.training or self.running_mean is None
        ):
            valid = self.valid_values(input, mask)
            if valid is not None:
                return self._forward_masked(input, valid)
        if self.training and scope is not None and scope.shared is not None and (shared := self._shared()) is not None:
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
        if by_window(self._regime, samples, M) and M is not None:
            return self._forward_window(input, weight, bias, samples, M)
        tracks = self.track_running_stats and not (scope is not None and scope.holds)
        if M is None and not tracks and not is_exporting():  # torch.vmap takes this call
            return torch.nn.functional.batch_norm(input, None, None, weight, bias, True, 0.0, self.eps).to(input.dtype)
        y, batch = normalise_at_hand(input, weight, bias, self.eps, self._regime, M)
        if not in_backward():
            self._track(batch, None if M is None else window_of_batch(batch, samples))
        return y

    @_disable_dynamo
    def _order(self) -> Order | None:
        return None if self._scope is None or not self._scope.is_here else self._scope.order

    @_disable_dynamo
    def valid_values(self, input: Tensor, mask: Tensor | None = None) -> Tensor | None:  # noqa: A002
        """Return which values of ``input`` count, bool, (N, 1, ...): by ``mask``, else in :func:`bnlens.masked`; None for all.

        Raises:
            UsageError: the mask does not fit the input.
        """
        if mask is not None:
            return valid_values(mask, input, "the layer")
        scope = self._scope
        return None if scope is None or not scope.is_here or scope.mask is None else scope.mask(input)

    def _forward_native(self, x: Tensor) -> Tensor:
        if self.frozen:
            mean, variance = self.running_mean, self.running_var
            return torch.nn.functional.batch_norm(x, mean, variance, self.weight, self.bias, False, 0.0, self.eps)
        if not self.training:
            result: Tensor = super().forward(x)
            return result
        return torch.nn.functional.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _forward_window(self, x: Tensor, weight: Tensor, bias: Tensor, samples: int, M: float) -> Tensor:
        if torch.compiler.is_compiling() and is_checkpointed():
            return self._forward_uncompiled(x, weight, bias, samples, M)
        batch = batch_statistics(x)
        window = self._advance(batch, samples, M)
        return self._remembered(self._renormalise(x, weight, bias, self.eps, batch, window), batch, window)

    @_disable_dynamo
    def _forward_uncompiled(self, x: Tensor, weight: Tensor, bias: Tensor, samples: int, M: float) -> Tensor:
        """Normalise by a window in a compiled model, where the pass is run again or will be."""
        self._passes.check()
        return self._forward_window(x, weight, bias, samples, M)

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
            means = shared.of(x.shape[0])
            keep = self._scope is None or not self._scope.holds
            return normalise_by_shared(x, weight, bias, self.eps, means, keep=keep)
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
        if by_window(self._regime, samples, M) and M is not None:
            window = self._advance(batch, samples, M)
            y = normalise_by_joint_batch(x, weight, bias, self.eps, joint, window)
            return self._remembered(y, batch, window)
        sizes = [samples] if M is None else group_sizes(samples, int(M))
        if len(sizes) == 1:
            y = normalise_by_joint_batch(x, weight, bias, self.eps, joint)
        else:
            y = normalise_by_joint_groups(x, weight, bias, self.eps, joint, sizes)
        if not in_backward():
            self._track(batch, None if M is None else window_of_batch(batch, samples))
        return y

    @_disable_dynamo
    def _forward_masked(self, x: Tensor, valid: Tensor) -> Tensor:
        """Normalise by the statistics of the values that ``valid`` (N, 1, ...) marks; see `bnlens.nn._masked`."""
        if self._renormalise is not normalise_by_window:
            raise UsageError("explicit regularisers watch the statistics of all values; leave masks out to use them")
        weight, bias = self._affine(x)
        shared = self._shared() if self.training else None
        M = self._statistics_batch_size if self.training else None
        batch = count_valid(valid, self._sync_group() if self.training and shared is None else None, M)
        samples = batch.samples
        if not batch.values and not x.numel():
            return self._forward_native(x)
        if shared is not None and shared.taken:
            keep = self._scope is None or not self._scope.holds
            return normalise_by_shared(x, weight, bias, self.eps, shared.of(samples), keep=keep, valid=valid)
        windowed = self.training and shared is None and by_window(self._regime, samples, M)
        if batch.values < 2 and not (windowed and batch.values == 1 and holds_a_batch(self.window)):
            raise few_values(x, batch.values)
        if windowed and M is not None:
            groups = group_statistics(x, batch, [samples])
            window = self._advance(groups.batch, samples, M)
            return self._remembered(normalise_valid(x, weight, bias, self.eps, groups, window), groups.batch, window)
        groups = group_statistics(x, batch, [samples] if M is None or shared else group_sizes(samples, int(M)))
        if shared is not None:
            shared.take(groups.batch, samples, M)
        if self.training and not in_backward():
            self._track(groups.batch, window_of_batch(groups.batch, samples) if self._has_window() else None)
        return normalise_valid(x, weight, bias, self.eps, groups)

    @_disable_dynamo
    def _shared(self) -> Shared | None:
        return None if self._scope is None or not self._scope.is_here else self._scope.shared

    def _sync_group(self) -> dist.ProcessGroup | None:
        return sync_group(self._sync)

    def _advance(self, batch: BatchStatistics, samples: int, M: float) -> Tensor:
        """Return the window with ``batch`` in it, kept; of a forward pass run again, that of its first run."""
        if not torch.compiler.is_compiling() and 4 * samples < M < math.inf:
            self._warn(samples, M)
        if in_backward() and (earlier := self._passes.find(batch, self.eps)) is not None:
            return earlier
        before = self.window
        assert before is not None  # noqa: S101 - a layer that comes here has a window
        with unrecorded():
            sound = is_sound(before)
            before = torch.where(sound, before, 0)
            window = advance_window(before, batch, samples, window_weight(samples, M))
            self._track(batch, window, sound)
        return window

    def _remembered(self, y: Tensor, batch: BatchStatistics, window: Tensor) -> Tensor:
        """Return ``y``, after noting the forward pass that made it, should activation checkpointing run it again."""
        if torch.compiler.is_compiling():
            if not in_export():
                self._traced = (
                    self._passes
                )  # the compiler refuses this in a checkpoint, which it then leaves uncompiled
        elif not in_backward():
            self._passes.add(y, batch, window)
        return y

    def _has_window(self) -> bool:
        """Return whether the layer may have to normalise by a window: with an M, batches can be smaller than it."""
        return self._statistics_batch_size is not None

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return gamma and beta, (C,) each, in float32 or wider, so that the kernels take statistics in it too."""
        gamma, beta = self.weight, self.bias  # once: a parametrization may have a state
        own = next((tensor for tensor in (gamma, beta, self.running_mean) if tensor is not None), None)
        channels = x.shape[1] if own is None else own.shape[0]
        if x.shape[1] != channels or not x.is_floating_point():
            raise UsageError(
                f"the input is of {x.dtype}, shape {tuple(x.shape)}; give floating-point numbers with {channels} channels in "
                "dimension 1"
            )
        like = x.new_empty(channels) if gamma is None else gamma
        weight = torch.ones_like(like) if gamma is None else gamma
        bias = torch.zeros_like(like) if beta is None else beta
        dtype = at_least_float32(like.dtype)
        return weight.to(dtype), bias.to(dtype)

    @torch.no_grad()
    def _track(self, batch: BatchStatistics, window: Tensor | None, sound: Tensor | None = None) -> None:
        """Update running statistics and window, or count a batch that is not finite, or met a window that was not ``sound``."""
        if (self._scope is not None and self._scope.holds) or (window is None and not self.track_running_stats):
            return
        finite = batch.variance.max() < math.inf  # and no NaN; where a mean is not finite, the variance is not
        if window is not None and self.window is not None and not self._holds_window():
            self.window.copy_(torch.where(finite, window, self.window))
        self.skipped_batches.add_(~(finite if sound is None else finite & sound))
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

    def _holds_window(self) -> bool:
        """Return whether this pass is to leave no trace: users say so by momentum 0, or by tracking nothing for a while."""
        return self.momentum == 0 or (self.running_mean is not None and not self.track_running_stats)

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
        """Return torch's arguments, then the statistics batch size, and those that differ from a plain BN layer's."""
        parts = [super().extra_repr()]  # type: ignore[no-untyped-call]
        parts.append(f"statistics_batch_size={self._statistics_batch_size}")
        if self._sync is not False:
            parts.append(f"sync={self._sync if self._sync is True else type(self._sync).__name__}")
        if self._regime != "auto":
            parts.append(f"regime={self._regime}")
        if self.frozen:
            parts.append("frozen=True")
        if self.skipped_batches is not None and not self.skipped_batches.is_meta:
            if 0 < self.window_samples < (self._statistics_batch_size or 0) < math.inf:
                parts.append(f"window_samples={self.window_samples:.3g}")
            if skipped := int(self.skipped_batches):
                parts.append(f"skipped_batches={skipped}")
        return ", ".join(parts)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        introduce(cls, plain=cls.forward is DialBatchNorm.forward)

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Yield the modules, as torch does, once tools that were imported since the class was made know it."""
        introduce(type(self), plain=type(self).forward is DialBatchNorm.forward)
        modules: Iterator[Any] = super().named_modules(*args, **kwargs)
        return modules

    def named_children(self) -> Iterator[Any]:
        """Yield the children, as torch does; a warning says what ``convert_sync_batchnorm`` loses."""
        M = self._statistics_batch_size
        lost = [] if M is None else [f"the statistics batch size of {M}"]
        warn_of_conversion(" and ".join(lost + ["freezing"] * self.frozen + ["streams"] * bool(self.streams)))
        return super().named_children()

    def __prepare_scriptable__(self) -> None:
        refuse_script()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DialBatchNorm:
        held = self.skipped_batches, self.window
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.skipped_batches, self.window = held
        carry(self, fn)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.reset_window()  # it describes the weights that were there before
