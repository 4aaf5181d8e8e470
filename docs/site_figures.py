"""How the gallery takes the figures that an example shows: as PNG, so that a page loads nothing and prints."""

import base64
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from sphinx_gallery.scrapers import figure_rst

from bnlens.render import save_picture, template

shown: list[go.Figure] = []


class Renderer(pio.base_renderers.ExternalRenderer):
    """Keeps what ``figure.show()`` shows."""

    def render(self, fig_dict: dict[str, Any]) -> None:
        """Keep one figure."""
        shown.append(go.Figure(_unpacked(fig_dict)))


pio.renderers["gallery"] = Renderer()
pio.renderers.default = "gallery"
pio.templates["bnlens"] = template()
pio.templates.default = "bnlens"


def scraper(block: tuple[str, str, int], block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Write the figures that a block has shown, and return the reStructuredText that places them."""
    paths = []
    while shown:
        paths.append(next(block_vars["image_path_iterator"]))
        save_picture(shown.pop(0), paths[-1])
    return figure_rst(paths, gallery_conf["src_dir"])


def _unpacked(value: Any) -> Any:
    """Return a part of a figure with the arrays that Plotly packs into base64 for a browser as lists."""
    if isinstance(value, dict):
        if "bdata" in value:
            return np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"]).tolist()
        return {name: _unpacked(part) for name, part in value.items()}
    return [_unpacked(part) for part in value] if isinstance(value, list | tuple) else value
