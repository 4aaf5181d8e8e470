"""Norms of a net's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["weight_norms"]


def weight_norms(model: nn.Module) -> list[float]:
    """Norm of each weight of two dimensions or more, the last layer's left out, in the order of the model."""
    weights = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    return [float(weight.detach().norm()) for weight in weights[:-1]]
