"""Errors with a status of their own; all other errors of bnlens are the asker's, 422."""

from __future__ import annotations

from bnlens.errors import BnlensError, UsageError

__all__ = ["BusyError", "GoneError", "NotFoundError", "OverloadedError"]


class NotFoundError(UsageError):
    """A name stands for nothing that the server holds."""

    status = 404


class BusyError(BnlensError):
    """Another run is going on."""

    status = 409


class GoneError(BnlensError):
    """The reader has gone; nobody reads the answer."""

    status = 499  # as nginx logs it


class OverloadedError(BnlensError):
    """The server cannot answer now: the queue is full or the time is up."""

    status = 503
