"""Callbacks for PyTorch Lightning, ``lightning`` or ``pytorch_lightning``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from bnlens.errors import UsageError
from bnlens.integrations._dial import ScheduledCallback
from bnlens.integrations._gap import GapMonitor as Monitor
from bnlens.integrations._recalibrate import Recalibrator

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError as error:
        raise UsageError("bnlens.integrations.lightning needs the package lightning: pip install lightning") from error

__all__ = ["GapMonitor", "Recalibrate", "SetStatisticsBatchSize"]

_STATE = "bnlens.SetStatisticsBatchSize"
_AVERAGING = {"StochasticWeightAveraging", "WeightAveraging"}


class GapMonitor(Monitor, Callback):  # type: ignore[misc]
    """Logs the gap and the running-statistics discrepancy of the module, to the trainer's loggers and ``callback_metrics``.

    It measures when training starts and after every ``every_n_steps`` optimizer steps, whatever ``log_every_n_steps`` is.
    Names and arguments are those of `bnlens.integrations.GapMonitor`; the module's ``forward`` is measured, or what
    ``forward=`` calls.
    """

    _measured = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Measure before the first step; a run that goes on has done so."""
        if trainer.global_step == 0:
            self._log(trainer, pl_module)
        self._measured = trainer.global_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure after every so many steps, once where a step accumulates several batches."""
        if trainer.global_step != self._measured:
            self._measured = trainer.global_step
            self._log(trainer, pl_module)

    def _log(self, trainer: Any, pl_module: Any) -> None:
        if found := self(pl_module, trainer.global_step):
            for logger in trainer.loggers:
                logger.log_metrics(found, step=trainer.global_step)
            trainer.callback_metrics.update({name: torch.tensor(value) for name, value in found.items()})


class SetStatisticsBatchSize(ScheduledCallback, Callback):  # type: ignore[misc]
    """Sets the statistics batch size of the module's layers by a schedule, and keeps their windows in the checkpoints.

    Copies that ``WeightAveraging`` makes are set too. See `bnlens.integrations.SetStatisticsBatchSize`.

    Args:
        schedule: M; a dict from steps or epochs to the M from there on; or a function of them.
        unit: ``"step"``, optimizer steps done, or ``"epoch"``.
        device_batch_size: see `bnlens.set_statistics_batch_size`.
        sync: see `bnlens.set_statistics_batch_size`.

    Raises:
        UsageError: the schedule or the unit is none of these; when training starts: the module has no bnlens layer.
    """

    _saved: Any = None

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the state until all callbacks have loaded theirs, as loading weights empties windows."""
        self._saved = checkpoint.get(_STATE)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Go on where a checkpoint left off."""
        found = (value for callback in trainer.callbacks for value in vars(callback).values())
        averaged = [value.module for value in found if isinstance(value, AveragedModel)]
        dial = self._make_dial(pl_module, averaged)
        if self._saved is not None:
            dial.load_state_dict(self._saved)
            self._saved = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Set the M that is due."""
        if self._dial is not None:
            self._dial.step(trainer.current_epoch if self._by_epoch else trainer.global_step)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add M and windows."""
        if self._dial is not None:
            checkpoint[_STATE] = self._dial.state_dict()


class Recalibrate(Callback):  # type: ignore[misc]
    """Sets running statistics to the population's: before validation, in every checkpoint, and when training ends.

    Validated and written weights are recalibrated as they are, those averaged by ``WeightAveraging`` or
    ``StochasticWeightAveraging`` among them: put this callback after these. The sanity check before training and frozen
    layers are left alone. Weights that did not change since are not passed over again.

    Args:
        loader: of the training images without augmentation, a few thousand of them; one of its own, not the trainer's. With
            several ranks the samples of all count; give each its share, or, at more cost, all of them.
        validation: recalibrate before validation.
        checkpoint: recalibrate what a checkpoint holds, also one of weights only.
        options: ``forward`` and ``tolerance`` of `bnlens.recalibrate`, whose errors it raises.

    Raises:
        UsageError: when training starts: a callback that averages weights stands after this one.
    """

    def __init__(
        self, loader: Iterable[Any], *, validation: bool = True, checkpoint: bool = True, **options: Any
    ) -> None:
        self._validation, self._checkpoint = validation, checkpoint
        self._recalibrate = Recalibrator(loader, options)
        self._strategy: Any = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """See to checkpoints where they are written: hooks of callbacks miss those of weights only, and come before others'."""
        if stage != "fit":
            return
        for other in trainer.callbacks[trainer.callbacks.index(self) :]:
            if _AVERAGING & {base.__name__ for base in type(other).__mro__}:
                raise UsageError(
                    f"Recalibrate stands before {type(other).__name__} in the callbacks, and would recalibrate weights before "
                    "they are averaged; put it after"
                )
        self._unwrap()
        if self._checkpoint:
            self._strategy, save = trainer.strategy, trainer.strategy.save_checkpoint

            def recalibrated(checkpoint: dict[str, Any], *args: Any, **kwargs: Any) -> None:
                if not trainer.interrupted:  # by an error, which other ranks may not have
                    self._recalibrate.weights(pl_module, checkpoint["state_dict"])
                save(checkpoint, *args, **kwargs)

            self._strategy.save_checkpoint = recalibrated

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave the trainer as it was."""
        self._unwrap()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Remember which layers are frozen."""
        self._recalibrate.note(pl_module)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Recalibrate what is validated during a fit."""
        if self._validation and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._recalibrate(pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Recalibrate what training ends with."""
        self._recalibrate(pl_module)

    def _unwrap(self) -> None:
        if self._strategy is not None:
            del self._strategy.save_checkpoint  # the one on the instance
            self._strategy = None
