"""The errors of bnlens: one sentence with the cause, the offending name or path, and the fix."""

from __future__ import annotations

__all__ = ["BnlensError", "DataError", "LossError", "ModelError", "StoreError", "UsageError"]


class BnlensError(Exception):
    """Base of every error that a user of bnlens can cause; the command line turns it into exit code 2."""


class UsageError(BnlensError, ValueError):
    """An argument has a value that cannot work: an unknown claim id, a batch size below 2."""


class ModelError(BnlensError):
    """The model cannot be analysed: it has no BN layer, or a checkpoint does not fit it."""


class DataError(BnlensError):
    """The data cannot be read or are too few."""


class LossError(BnlensError):
    """The loss is not finite, is not a mean or a sum over samples, or does not fit the targets."""


class StoreError(BnlensError):
    """A results file cannot be read or written."""
