"""Packages that only some readers need."""

from __future__ import annotations

import importlib
from typing import Any

from bnlens.errors import DataError

__all__ = ["require"]


def require(module: str, purpose: str, install: str = "'bnlens[vision]'") -> Any:
    """Import ``module``, or say what it is for and how to install it.

    Args:
        module: dotted name, such as ``"PIL.Image"``.
        purpose: what needs it, the subject of the error's sentence.
        install: what to hand to ``pip install``.

    Raises:
        DataError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DataError(f"{purpose} needs the package {package}: pip install {install}") from error
