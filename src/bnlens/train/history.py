"""The record of a training run."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["History"]


@dataclass(frozen=True)
class History:
    """The record of a training run, one entry per optimizer step.

    Attributes:
        loss: mean cross-entropy of the step's batch as it was trained on, without a penalty and before the step, nats per
            sample.
        learning_rate: of the step.
        statistics_batch_size: images that the statistics of each BN layer are over.
        batch_size: images per step, over all processes.
        device_batch_size: images per forward pass of one process.
    """

    loss: tuple[float, ...]
    learning_rate: tuple[float, ...]
    statistics_batch_size: float
    batch_size: int
    device_batch_size: int

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return len(self.loss)

    def __repr__(self) -> str:
        return (
            f"History(steps={self.steps}, loss={self.loss[0]:.3f} -> {self.loss[-1]:.3f}, "
            f"statistics_batch_size={self.statistics_batch_size}, batch_size={self.batch_size}, "
            f"device_batch_size={self.device_batch_size})"
        )
