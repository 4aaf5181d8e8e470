"""Anderson mixing: the fixed point of statistics that depend on themselves."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Mixing"]

_KEPT = 8


class Mixing:
    """From what passes under s found, T(s), to the s of the next pass, on the way to the fixed point s = T(s).

    Where a layer is used several times, its later uses see what its statistics made of the earlier ones. With T(s) for the
    next s, these swing about the fixed point, and away from it where the weights between the uses are large. The next s is
    that combination of the last eight T(s), with coefficients that add up to one, whose T(s) - s would be smallest if T were
    linear (Anderson 1965; Walker and Ni, SIAM J. Numer. Anal. 49, 1715, 2011).

    >>> mixing, s = Mixing(), torch.tensor([5.0, 5.0], dtype=torch.float64)
    >>> for _ in range(3):  # T(s) = 2 - 3 s and 1 + s / 2: alone, the first runs away from 0.5
    ...     found = torch.stack([2 - 3 * s[0], 1 + s[1] / 2])
    ...     s = mixing.next(found, found - s)
    >>> [round(float(value), 6) for value in s]
    [0.5, 2.0]
    """

    def __init__(self) -> None:
        self._found: list[Tensor] = []
        self._changes: list[Tensor] = []

    def next(self, found: Tensor, change: Tensor) -> Tensor:
        """Return the s of the next pass.

        Args:
            found: T(s), (D,), float64.
            change: T(s) - s in units that make its entries comparable, (D,), float64.
        """
        self._found = [*self._found, found][-_KEPT:]
        self._changes = [*self._changes, change][-_KEPT:]
        if len(self._changes) == 1:
            return found
        changes, values = torch.stack(self._changes, 1), torch.stack(self._found, 1)
        differences = changes[:, :-1] - changes[:, -1:]
        shares: Tensor = torch.linalg.lstsq(differences, -changes[:, -1:], driver="gelsd").solution
        return found + ((values[:, :-1] - values[:, -1:]) @ shares)[:, 0]

    def reset(self) -> None:
        """Forget earlier passes."""
        self._found, self._changes = [], []
