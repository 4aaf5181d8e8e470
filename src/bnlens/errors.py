"""The errors of bnlens: one sentence with the cause, the offending name or path, and the fix."""

from __future__ import annotations

__all__ = [
    "BnlensError",
    "ClusterError",
    "ConversionError",
    "DataError",
    "LossError",
    "ModelError",
    "NeedsRuleError",
    "NotConvertibleError",
    "NotYetConvertibleError",
    "StoreError",
    "UsageError",
    "how_to_install",
]


class BnlensError(Exception):
    """Base of every error that a user of bnlens can cause; the command line turns it into exit code 2."""


class UsageError(BnlensError, ValueError):
    """An argument has a value that cannot work: an unknown claim id, a batch size below 2."""


class ModelError(BnlensError):
    """The model cannot be analysed: it has no BN layer, or a checkpoint does not fit it."""


class ConversionError(ModelError):
    """A layer cannot be converted, or not back; the message names its path in the model and the next step."""


class NotConvertibleError(ConversionError):
    """Never possible for this layer: change the model, or leave the layer out."""


class NotYetConvertibleError(ConversionError):
    """Not yet: possible after one step that the message names."""


class NeedsRuleError(ConversionError):
    """bnlens cannot know what the layer does beside normalising: say so with `bnlens.conversion.register_rule`."""


class DataError(BnlensError):
    """The data cannot be read or are too few."""


class LossError(BnlensError):
    """The loss is not finite, is not a mean or a sum over samples, or does not fit the targets."""


class StoreError(BnlensError):
    """A results file cannot be read or written."""


class ClusterError(BnlensError):
    """The scheduler of a cluster does not answer or was lost, or its workers cannot be used."""


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra of bnlens, which no package index has.

    >>> how_to_install("web")
    "pip install -c constraints.txt '.[web]' in a clone of bnlens"
    """
    return f"pip install -c constraints.txt '.[{extra}]' in a clone of bnlens"
