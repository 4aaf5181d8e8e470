"""Callbacks for the Trainer of transformers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnlens._files import write_atomic
from bnlens.errors import UsageError
from bnlens.integrations._dial import ScheduledCallback
from bnlens.integrations._gap import GapMonitor as Monitor
from bnlens.integrations._recalibrate import Recalibrator

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise UsageError(
        "bnlens.integrations.transformers needs the package transformers: pip install transformers"
    ) from error

__all__ = ["GapMonitor", "Recalibrate", "SetStatisticsBatchSize"]

_STATE = "bnlens_statistics_batch_size.pt"


class GapMonitor(Monitor, TrainerCallback):  # type: ignore[misc]
    """Logs the gap and the running-statistics discrepancy by ``trainer.log``, so to the log history and all that it reports to.

    It measures when training starts and after every ``every_n_steps`` optimizer steps. A callback is not told its trainer, so
    add it once that is made: ``trainer.add_callback(GapMonitor(trainer, loader, loss_fn))``. The other arguments, and the
    names, are those of `bnlens.integrations.GapMonitor`.
    """

    def __init__(self, trainer: Any, loader: Iterable[Any], loss_fn: Any, **options: Any) -> None:
        if not callable(getattr(trainer, "log", None)):
            raise UsageError(f"trainer is of type {type(trainer).__name__}; give the transformers.Trainer that logs")
        super().__init__(loader, loss_fn, **options)
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        """Measure before the first step; a run that goes on has done so."""
        if state.global_step == 0:
            self._log(state, control, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        """Measure after every so many steps."""
        self._log(state, control, model)

    def _log(self, state: Any, control: Any, model: nn.Module) -> None:
        if found := self(model, state.global_step):
            due = control.should_log
            self._trainer.log(found)
            control.should_log = due  # which logging sets back, before the trainer has logged the loss


class SetStatisticsBatchSize(ScheduledCallback, TrainerCallback):  # type: ignore[misc]
    """Sets the statistics batch size of the model's layers by a schedule, and keeps their windows beside the checkpoints.

    They are in ``bnlens_statistics_batch_size.pt``, in the folder of a checkpoint; a run that goes on reads it from
    ``checkpoint-STEP`` in ``args.output_dir``, or from ``args.resume_from_checkpoint``.

    Args:
        schedule: M; a dict from steps or epochs to the M from there on; or a function of them.
        unit: ``"step"``, optimizer steps done, or ``"epoch"``.
        device_batch_size: see `bnlens.set_statistics_batch_size`.
        sync: see `bnlens.set_statistics_batch_size`.

    Raises:
        UsageError: the schedule or the unit is none of these; when training starts: the model has no bnlens layer.

    Warns:
        UserWarning: a run goes on from a checkpoint without that file.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        """Go on where a checkpoint left off."""
        dial = self._make_dial(model)
        if state.global_step == 0:
            return
        folders = [_folder(args, state), *filter(None, [args.resume_from_checkpoint])]
        path = next((p for p in (Path(folder) / _STATE for folder in folders) if p.is_file()), None)
        if path is None:
            warnings.warn(
                f"no {_STATE} in {' or '.join(map(str, folders))}: the windows of the layers begin anew; set "
                "args.resume_from_checkpoint to the folder of the checkpoint",
                UserWarning,
                stacklevel=2,
            )
        else:
            dial.load_state_dict(torch.load(path, weights_only=True))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the M that is due."""
        if self._dial is not None:
            self._dial.step(int(state.epoch) if self._by_epoch else state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write M and windows beside the checkpoint."""
        if self._dial is not None:
            found, file = self._dial.state_dict(), io.BytesIO()
            torch.save(found, file)
            if state.is_world_process_zero:
                write_atomic(_folder(args, state) / _STATE, file.getvalue())


class Recalibrate(TrainerCallback):  # type: ignore[misc]
    """Sets running statistics to the population's before the trainer evaluates or saves, and when training ends.

    Put it last among the callbacks: one after it that asks for an evaluation comes too late. Frozen layers are left alone.

    Args:
        loader: of the training images without augmentation, a few thousand of them; one of its own, not the trainer's. With
            several ranks the samples of all count; give each its share, or, at more cost, all of them.
        options: ``forward`` and ``tolerance`` of `bnlens.recalibrate`, whose errors it raises.
    """

    def __init__(self, loader: Iterable[Any], **options: Any) -> None:
        self._recalibrate = Recalibrator(loader, options)

    def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        """Recalibrate where an evaluation or a checkpoint follows."""
        self._recalibrate.note(model)
        if control.should_evaluate or control.should_save:
            self._recalibrate(model)

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        """Recalibrate where an evaluation or a checkpoint follows."""
        if control.should_evaluate or control.should_save:
            self._recalibrate(model)

    def on_train_end(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        """Recalibrate what training ends with."""
        self._recalibrate(model)


def _folder(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
