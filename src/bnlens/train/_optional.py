"""Packages that only some readers need."""

from __future__ import annotations

import importlib
from typing import Any

from bnlens.errors import DataError, how_to_install

__all__ = ["require"]


_PACKAGES = {"PIL": "pillow"}  # modules whose package has another name


def require(module: str, purpose: str, extra: str = "vision") -> Any:
    """Import ``module``, or say what it is for and how to install it.

    Args:
        module: dotted name, such as ``"PIL.Image"``.
        purpose: what needs it, the subject of the error's sentence.
        extra: the extra of bnlens that brings the package; empty if none does.

    Raises:
        DataError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        package = _PACKAGES.get(name, name)
        how = f"{how_to_install(extra)} brings it" if extra else f"pip install {package}"
        raise DataError(f"{purpose} needs the package {package}; {how}") from error
