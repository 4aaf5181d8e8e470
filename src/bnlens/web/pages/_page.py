"""What a page says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import APIRouter

if TYPE_CHECKING:
    from bnlens.web.site import Site

__all__ = ["Page"]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One entry of the navigation with the routes behind it.

    Attributes:
        id: stable name.
        title: what the navigation calls it.
        path: where it begins.
        summary: a sentence for the front page.
        routes: makes its routes.
        export: addresses that a static export writes besides ``path``.
        exported_path: whether it writes ``path``; no for routes that only receive.
        listed: whether the navigation has it.
    """

    id: str
    title: str
    path: str
    routes: Callable[[Site], APIRouter]
    summary: str = ""
    export: Callable[[Site], Iterable[str]] = field(default=lambda site: ())
    exported_path: bool = True
    listed: bool = True

    def is_at(self, path: str) -> bool:
        """Whether an address belongs to this page."""
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))

    def exported(self, site: Site) -> list[str]:
        """Return the addresses that a static export writes."""
        return list(dict.fromkeys((*([self.path] if self.exported_path else []), *self.export(site))))
