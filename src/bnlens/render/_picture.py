"""Plotly figures as pictures in files, by whichever package is at hand that draws them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnlens._files import check_writable, write_atomic
from bnlens.errors import UsageError
from bnlens.render._axes import settle_log_axes
from bnlens.render._look import template

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["check_picture", "save_picture"]

_SUFFIXES = (".png", ".svg", ".pdf")
_WIDTH, _HEIGHT, _SCALE = 1000, 560, 2  # pixels; a PNG has so many times as many each way


def check_picture(path: str | os.PathLike[str], *, option: str = "path", others: Sequence[str] = ()) -> None:
    """Find out whether `save_picture` could write a file, before long work is done for it.

    Args:
        path: of the file.
        option: what an error calls it.
        others: further suffixes that the caller writes itself, for the error.

    Raises:
        UsageError: the suffix is none of .png, .svg and .pdf, or neither matplotlib nor kaleido is installed.
        StoreError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        *known, last = *others, *_SUFFIXES
        raise UsageError(
            f"{option} {path} ends in {path.suffix or 'nothing'!r}; give a file that ends in {', '.join(known)} or {last}"
        )
    if not any(map(importlib.util.find_spec, ("matplotlib", "kaleido"))):
        instead = f", or give a file that ends in {' or '.join(others)}" if others else ""
        raise UsageError(f"{option} {path} needs matplotlib or kaleido to be drawn; install bnlens[png]{instead}")
    check_writable(path)


def save_picture(fig: go.Figure, path: str | os.PathLike[str], *, title: str = "") -> Path:
    """Write a figure as a picture on white, with matplotlib where it is installed, with kaleido and a browser where it is not.

    Args:
        fig: the figure; it is not changed.
        path: of the file; .png, .svg or .pdf says the format.
        title: over the figure.

    Raises:
        UsageError: as `check_picture`, or kaleido finds no browser.
        StoreError: the file cannot be written.
    """
    import plotly.graph_objects as go

    check_picture(path)
    shown = go.Figure(fig)
    settle_log_axes(shown)
    height = max(_HEIGHT, 120 + int(shown.layout.height or 0))
    kind = Path(path).suffix.lower()[1:]
    if importlib.util.find_spec("matplotlib") is not None:
        from bnlens.render._matplotlib import picture

        return write_atomic(path, picture(shown, kind, title=title, size=(_WIDTH, height), scale=_SCALE))
    shown.update_layout(template=template(), paper_bgcolor="white", title={"text": title, "y": 0.97}, margin_t=110)
    try:
        drawn = shown.to_image(kind, width=_WIDTH, height=height, scale=_SCALE)
    except Exception as error:  # kaleido passes on whatever the browser says
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"kaleido cannot draw {path} ({cause}); install matplotlib, or a Chromium for kaleido"
        ) from error
    return write_atomic(path, drawn)
