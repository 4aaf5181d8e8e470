"""How the gallery takes the figures that an example shows: as PNG, so that a page loads nothing and prints."""

import logging
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from sphinx_gallery.scrapers import figure_rst

from bnlens.render import settle_log_axes, template

WIDTH, HEIGHT = 760, 430
shown: list[go.Figure] = []


class Renderer(pio.base_renderers.ExternalRenderer):
    """Keeps what ``figure.show()`` shows."""

    def render(self, fig_dict: dict[str, Any]) -> None:
        """Keep one figure."""
        shown.append(go.Figure(fig_dict))


for name in ("kaleido", "choreographer"):  # which tell each step
    logging.getLogger(name).setLevel(logging.WARNING)
pio.renderers["gallery"] = Renderer()
pio.renderers.default = "gallery"
pio.templates["bnlens"] = template()
pio.templates.default = "bnlens"


def scraper(block: tuple[str, str, int], block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Write the figures that a block has shown, and return the reStructuredText that places them."""
    paths = []
    while shown:
        paths.append(next(block_vars["image_path_iterator"]))
        figure = shown.pop(0).update_layout(paper_bgcolor="white")  # it is seen on dark pages, too
        settle_log_axes(figure)
        figure.write_image(paths[-1], width=WIDTH, height=HEIGHT, scale=2)
    return figure_rst(paths, gallery_conf["src_dir"])
