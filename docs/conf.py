"""The site: the documents beside this file, a gallery of executed examples and the reference. `make docs` builds it."""

import os
import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))
os.environ["COLUMNS"] = "80"  # of the reports in the examples

project = "bnlens"
author = "The bnlens developers"
project_copyright = author
version = release = version_of("bnlens")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "site_docstrings",
    "site_math",
    "site_reference",
]
exclude_patterns = ["_build", "gallery"]
default_role = "py:obj"  # docstrings write names in single backticks

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_attr_annotations = False  # the signature has them
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("site_figures.scraper",),
    "reset_modules": (),
    "capture_repr": ("__repr__",),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}

html_theme = "furo"
html_math_renderer = "mathml"
html_title = "bnlens"
html_copy_source = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Begin the first page with the README, and lead links to what the site has in another place."""
    text = source[0]
    if page == "index":
        app.env.note_dependency(str(ROOT / "README.md"))
        readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
        readme = re.sub(r"\]\(([A-Z]+\.md)\)", lambda found: f"]({found[1].lower()})", readme)  # CONTRIBUTING
        text = re.sub(r"\]\((?=benchmarks/|CITATION)", "](../", readme) + text
    text = text.replace("](gallery)", "](examples/index.rst)")
    source[0] = re.sub(r"\]\(gallery/(\w+)\.py\)", r"](examples/\1.rst)", text)


def setup(app: Sphinx) -> None:
    """Change the documents as they are read."""
    app.connect("source-read", read)
