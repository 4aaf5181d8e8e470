"""The blocks of docs/integrations.md."""

import re
from pathlib import Path
from typing import Any

_PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## ([^\n]+)\n\n```python\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL))


def executed(heading: str) -> dict[str, Any]:
    """The names that a block defines."""
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(BLOCKS[heading], f"docs/integrations.md, {heading}", "exec"), names)  # noqa: S102 - our own text
    return names
