"""The local web page of bnlens: labs for the theory, saved reports, and a JSON API over the same functions.

Server-rendered pages whose whole state is in their address; they load nothing from elsewhere. `create_app` builds the
application, `serve` runs it, `export_site` writes it as files that open from disk. Needs the extra ``web``.
"""

from __future__ import annotations

from importlib.util import find_spec

from bnlens.errors import UsageError, how_to_install

_PACKAGES = {
    "fastapi": "fastapi",
    "httpx": "httpx",
    "igraph": "igraph",
    "jinja2": "jinja2",
    "markdown_it": "markdown-it-py",
    "mdit_py_plugins": "mdit-py-plugins",
    "python_multipart": "python-multipart",
    "uvicorn": "uvicorn",
}


def _require_packages() -> None:
    missing = [package for module, package in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise UsageError(f"the page needs {', '.join(missing)}; {how_to_install('web')} brings everything")


_require_packages()

from bnlens.web.app import create_app  # noqa: E402 - what is missing is said first, in one sentence
from bnlens.web.export import export_site  # noqa: E402
from bnlens.web.serving import serve  # noqa: E402

__all__ = ["create_app", "export_site", "serve"]
