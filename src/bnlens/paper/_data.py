"""The JSON files that come with this room."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["load"]


def load(name: str) -> Any:
    """Return the content of ``data/NAME.json``."""
    return json.loads(files("bnlens.paper").joinpath("data", f"{name}.json").read_text(encoding="utf-8"))
