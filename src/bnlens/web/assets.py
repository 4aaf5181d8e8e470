"""Styles, scripts, pictures and plotly.js, each under an address that changes with its content, so that browsers keep them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter
from starlette.responses import Response

from bnlens.web.errors import NotFoundError

__all__ = ["Asset", "assets", "folders", "router"]

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}


class Asset(NamedTuple):
    """One file under its address."""

    path: str
    content: bytes
    media_type: str


def folders() -> list[Path]:
    """Return the folders that hold templates, styles and scripts: one for each subject, and those that all share."""
    return sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir())


@lru_cache(maxsize=1)
def assets() -> dict[str, Asset]:
    """Return every asset by name."""
    look = files("bnlens.render")
    entries = (entry for folder in folders() for entry in folder.iterdir() if entry.suffix in _TYPES)
    contents = {entry.name: entry.read_bytes() for entry in entries}
    contents |= {name: look.joinpath(name).read_bytes() for name in ("page.css", "page.js")}
    contents["plotly.js"] = look.joinpath("plotly", "plotly-basic.min.js").read_bytes()
    return {name: _asset(Path(name), content) for name, content in contents.items()}


def _asset(name: Path, content: bytes) -> Asset:
    digest = hashlib.sha256(content).hexdigest()[:10]
    return Asset(f"/static/{name.stem}.{digest}{name.suffix}", content, _TYPES[name.suffix])


def router() -> APIRouter:
    """Return the routes under /static."""
    routes = APIRouter(include_in_schema=False)
    held = {asset.path: asset for asset in assets().values()}

    @routes.get("/static/{name}")
    def static(name: str) -> Response:
        asset = held.get(f"/static/{name}")
        if asset is None:
            raise NotFoundError(f"There is no file {name[:100]!r} here.")
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(asset.content, media_type=asset.media_type, headers=kept)

    return routes
