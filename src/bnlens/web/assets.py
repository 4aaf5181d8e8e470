"""Styles, scripts, pictures and plotly.js, each under an address that changes with its content, so that browsers keep them."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from bnlens.web.errors import NotFoundError

__all__ = ["Asset", "assets", "folders", "router"]

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}


@dataclass(frozen=True)
class Asset:
    """One file."""

    name: str
    content: bytes

    @property
    def path(self) -> str:
        """Address, which changes with the content, so that a cache may keep the file for ever."""
        stem, _, ending = self.name.rpartition(".")
        return f"/static/{stem}.{self.digest}.{ending}"

    @property
    def media_type(self) -> str:
        """MIME type."""
        return _TYPES[self.name.rpartition(".")[2]]

    @cached_property
    def digest(self) -> str:
        """Ten hexadecimal digits of the content's hash."""
        return hashlib.sha256(self.content).hexdigest()[:10]

    @cached_property
    def compressed(self) -> bytes:
        """The content, gzipped."""
        return gzip.compress(self.content, mtime=0)


def folders() -> list[Path]:
    """Return the folders that hold templates, styles and scripts: one for each subject, and those that all share."""
    return sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir())


@lru_cache(maxsize=1)
def assets() -> dict[str, Asset]:
    """Return every asset by name."""
    look = files("bnlens.render")
    entries = (entry for folder in folders() for entry in folder.iterdir())
    contents = {entry.name: entry.read_bytes() for entry in entries if entry.suffix.removeprefix(".") in _TYPES}
    contents |= {name: look.joinpath(name).read_bytes() for name in ("page.css", "page.js")}
    contents["plotly.js"] = look.joinpath("plotly", "plotly-basic.min.js").read_bytes()
    return {name: Asset(name, content) for name, content in contents.items()}


def router() -> APIRouter:
    """Return the routes under /static."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/static/{name}")
    def static(name: str, request: Request) -> Response:
        asset = next((asset for asset in assets().values() if asset.path == f"/static/{name}"), None)
        if asset is None:
            raise NotFoundError(f"There is no file {name[:100]!r} here.")
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(asset.compressed, media_type=asset.media_type, headers=headers)
        return Response(asset.content, media_type=asset.media_type, headers=headers)

    return routes
