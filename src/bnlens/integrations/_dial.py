"""A schedule of the statistics batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import torch.distributed as dist
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnlens._arguments import Count, Whole, checked
from bnlens._ranks import gather, world
from bnlens.errors import UsageError
from bnlens.nn import StatisticsBatchSize, load_window_state, set_statistics_batch_size, window_state

__all__ = ["ScheduledCallback", "SetStatisticsBatchSize"]

Schedule: TypeAlias = StatisticsBatchSize | Mapping[int, StatisticsBatchSize] | Callable[[int], float | None]
"""M; M from a step or epoch on; or a function of the steps or epochs done."""

Unit = Literal["step", "epoch"]


class SetStatisticsBatchSize:
    """Sets the statistics batch size of a model's layers by a schedule, and keeps windows over a cut.

    Call `step` before each training step. The state holds, beside the M that was set last, the windows of the layers, of
    every rank, which are not in the model's ``state_dict``: with it a run that goes on is bit for bit the run that was not cut.
    It has the methods that ``accelerator.register_for_checkpointing`` asks for.

    Args:
        model: with layers of `bnlens.nn`; convert it first (`bnlens.convert`).
        schedule: M; a dict from the steps done to the M from there on, ``{0: 16, 1000: 64}`` (layers keep theirs before the
            first of them); or a function of the steps done that returns M. M is None, an int from 2 on, or ``math.inf``.
        device_batch_size: see `bnlens.set_statistics_batch_size`.
        sync: see `bnlens.set_statistics_batch_size`.
        averaged: copies of the model that average its weights (`torch.optim.swa_utils.AveragedModel`): they pair their
            buffers with the model's one by one, and a layer has a window as a buffer where it has an M.

    Raises:
        UsageError: the schedule is none of these, or the model has no bnlens layer.

    Example:
        >>> import bnlens.nn
        >>> model = nn.Sequential(nn.Linear(4, 8), bnlens.nn.BatchNorm1d(8))
        >>> dial = SetStatisticsBatchSize(model, {0: 16, 1000: 64})
        >>> dial.step(999), model[1].statistics_batch_size, dial.step(1000), model[1].statistics_batch_size
        (None, 16, None, 64)
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        *,
        device_batch_size: Count | None = None,
        sync: bool | dist.ProcessGroup | None = None,
        averaged: Iterable[nn.Module] = (),
    ) -> None:
        _check_schedule(schedule)
        window_state(model)  # says that the model is not converted
        self._model, self._models, self._schedule = model, [model, *averaged], schedule
        self._options: dict[str, Any] = {"device_batch_size": device_batch_size, "sync": sync}
        self._set: list[float | None] = []  # the M that was set last, if any was

    @checked
    def step(self, done: Whole) -> None:
        """Set the M of the step (or epoch) that follows ``done`` steps, if it is not set already; setting empties windows.

        Raises:
            UsageError: the schedule's function returns something else than an M.
        """
        due = _due(self._schedule, done)
        if due and due != self._set:
            for model in self._models:
                set_statistics_batch_size(model, due[0], **self._options)
            self._set = due

    def state_dict(self) -> dict[str, Any]:
        """Return the M that was set last and the windows of all ranks, which all call it."""
        own = pytree.tree_map_only(Tensor, lambda tensor: tensor.cpu(), window_state(self._model))
        return {"set": list(self._set), "windows": gather(own)}

    @checked
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` returned, on this rank; load the model's own state first.

        Raises:
            UsageError: the state is of another model.
        """
        self._set = []
        for M in state["set"]:
            for model in self._models:
                set_statistics_batch_size(model, M, **self._options)
            self._set = [M]
        windows, device = state["windows"], next(self._model.parameters()).device
        own = windows[world()[0] % len(windows)]
        load_window_state(self._model, pytree.tree_map_only(Tensor, lambda tensor: tensor.to(device), own))


class ScheduledCallback:
    """The schedule of a trainer's callback, and the dial that is made of it when the model is there.

    Args:
        schedule: see `SetStatisticsBatchSize`; its keys are in the unit.
        unit: ``"step"``, optimizer steps done, or ``"epoch"``.
        device_batch_size: see `bnlens.set_statistics_batch_size`.
        sync: see `bnlens.set_statistics_batch_size`.
    """

    @checked
    def __init__(
        self,
        schedule: Schedule,
        *,
        unit: Unit = "step",
        device_batch_size: Count | None = None,
        sync: bool | dist.ProcessGroup | None = None,
    ) -> None:
        _check_schedule(schedule)
        self._schedule, self._by_epoch = schedule, unit == "epoch"
        self._options: dict[str, Any] = {"device_batch_size": device_batch_size, "sync": sync}
        self._dial: SetStatisticsBatchSize | None = None

    def _make_dial(self, model: nn.Module, averaged: Iterable[nn.Module] = ()) -> SetStatisticsBatchSize:
        self._dial = SetStatisticsBatchSize(model, self._schedule, averaged=averaged, **self._options)
        return self._dial


def _check_schedule(schedule: Schedule) -> None:
    """Raise UsageError where a dict is no schedule."""
    if isinstance(schedule, Mapping) and (not schedule or min(schedule) < 0):
        found = f"the key {min(schedule)!r}" if schedule else "no key"
        raise UsageError(f"the schedule has {found}; its keys are steps or epochs, ints from 0 on")


def _due(schedule: Schedule, done: int) -> list[float | None]:
    """Return the M after ``done`` steps; none before the first step of a dict."""
    if isinstance(schedule, Mapping):
        past = [step for step in schedule if step <= done]
        return [schedule[max(past)]] if past else []
    return [schedule(done) if callable(schedule) else schedule]
