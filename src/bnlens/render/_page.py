"""One self-contained HTML document."""

from __future__ import annotations

import base64
import gzip
from functools import lru_cache
from importlib.resources import files

from bnlens.render._figure import FIGURE_MARK
from bnlens.render._text import escape

__all__ = ["page"]


def page(title: str, body: str, *, description: str = "") -> str:
    """Return a whole HTML document that works offline and loads nothing from elsewhere.

    It follows the reader's light or dark preference, fits a phone and a desktop, and prints. plotly.js is included
    once, compressed, and only if ``body`` holds a figure.

    Args:
        title: heading of the page and title of the window.
        body: the content as HTML, made with the functions of this package.
        description: a sentence under the heading.
    """
    scripts = ""
    if FIGURE_MARK in body:
        packed = f'<script type="text/plain" id="packed">{_packed_script()}</script>'
        scripts = f"{packed}\n<script>\n{_asset('unpack.js')}</script>\n"
    lead = f'<p class="lead">{escape(description)}</p>\n' if description else ""
    meta = f'<meta name="description" content="{escape(description)}">\n' if description else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n{meta}'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_asset('page.css')}</style>\n</head>\n"
        '<body>\n<a class="skip" href="#content">Skip to the content</a>\n'
        f"<header>\n<h1>{escape(title)}</h1>\n{lead}</header>\n"
        f'<main id="content">\n{body}\n</main>\n{scripts}</body>\n</html>\n'
    )


@lru_cache(maxsize=1)
def _packed_script() -> str:
    """Return plotly.js and what draws with it, gzipped, in base64: half of what they measure."""
    script = f"{_asset('plotly/plotly-basic.min.js')}\n{_asset('page.js')}"
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _asset(name: str) -> str:
    return files("bnlens.render").joinpath(name).read_text(encoding="utf-8")
