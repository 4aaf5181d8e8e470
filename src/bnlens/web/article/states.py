"""The states that the article shows, as ``docs/article_states.py`` has written them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["CELL", "PICTURE", "STATES", "states"]

STATES = Path(__file__).with_name("states.json")
PICTURE = STATES.with_name("digits.png")

CELL = 10
"""Pixels of a digit in the picture, its margin included."""


@lru_cache(maxsize=1)
def states() -> dict[str, Any]:
    """Return them, scene by scene."""
    found: dict[str, Any] = json.loads(STATES.read_text(encoding="utf-8"))
    return found
