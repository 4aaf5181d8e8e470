"""The packages of the extra ``bnlens[web]``."""

from __future__ import annotations

from importlib.util import find_spec

from bnlens.errors import UsageError

__all__ = ["require_web"]

_PACKAGES = {
    "fastapi": "fastapi",
    "jinja2": "jinja2",
    "latex2mathml": "latex2mathml",
    "markdown_it": "markdown-it-py",
    "mdit_py_plugins": "mdit-py-plugins",
    "nh3": "nh3",
    "python_multipart": "python-multipart",
    "uvicorn": "uvicorn",
}


def require_web() -> None:
    """Find out whether the page's packages are installed, before any of them is imported.

    Raises:
        UsageError: one or more are missing; the message has the command that installs them.
    """
    missing = [package for module, package in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise UsageError(f"the page needs {', '.join(missing)}; pip install 'bnlens[web]' brings everything")
