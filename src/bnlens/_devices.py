"""The devices that arguments name."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import torch

from bnlens._arguments import reason, shown
from bnlens.errors import UsageError

__all__ = ["Device"]


def _usable(name: str, value: Any) -> Any:
    """Return a device as it was given; raise UsageError where there is none such."""
    try:
        torch.empty(0, device=torch.device(value))
    except (AssertionError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(
            f"{name} {shown(value)} cannot be used ({reason(error)}); give one such as 'cpu' or 'cuda:0'"
        ) from error
    return value


Device: TypeAlias = Annotated[torch.device | str | int, _usable]
"""A device of PyTorch."""
