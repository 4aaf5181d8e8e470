"""Writes every page to files that open from disk: relative links, nothing fetched, no server.

The pages are asked for as a reader would, so a page needs nothing for its export but the addresses in `Page.export`. Links
between what is written become relative; links to what needs a server lose their address.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import itertools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from fastapi import FastAPI

from bnlens._files import check_writable, write_atomic
from bnlens.errors import StoreError, UsageError
from bnlens.web.app import create_app
from bnlens.web.assets import assets
from bnlens.web.downloads import CITATION_FORMATS
from bnlens.web.site import Site
from bnlens.web.slow import Limits

__all__ = ["export_site"]

_LINK = re.compile(r'(?P<space>\s)(?P<name>href|src|action)="(?P<value>/[^"]*)"')
_SLUG = 60
_ENDINGS = {media_type: f".{ending}" for _, ending, media_type in CITATION_FORMATS.values()}
_SECONDS = 900.0  # nobody waits in front of a simulation here
_AT_ONCE = 8  # addresses; simulations wait for each other, and other pages are written meanwhile


def export_site(
    folder: str | Path, target: str | Path, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """Write all pages, the labs at their default, their grid and their examples, and the tables behind them.

    Args:
        folder: with saved reports, as for `create_app`.
        target: folder to write into; files of the same name are replaced, others stay.
        progress: called with the addresses done and all of them.

    Returns:
        The front page.

    Raises:
        StoreError: the target cannot be written.
        UsageError: a page cannot be written, with the page's own sentence.
    """
    target = Path(target)
    if target.is_file():
        raise StoreError(f"cannot write to {target}: it is a file; choose a folder")
    check_writable(target / "index.html")
    app = create_app(folder, static=True, limits=Limits(seconds=_SECONDS))
    files = asyncio.run(_collect(app, progress))
    names = {address: _file_name(address, media_type) for address, (_, media_type) in files.items()}
    for address, (content, media_type) in files.items():
        is_html = media_type.startswith("text/html")
        written = _relative(content.decode(), names[address], names).encode() if is_html else content
        write_atomic(target / names[address], written)
    return target / "index.html"


async def _collect(app: FastAPI, progress: Callable[[int, int], None]) -> dict[str, tuple[bytes, str]]:
    """Return content and media type of every address."""
    import httpx  # which a page that is served does without

    site: Site = app.state.site
    addresses = [address for page in site.pages for address in (page.path, *page.export(site))]
    addresses += [asset.path for asset in assets().values()]
    addresses = list(dict.fromkeys(addresses))
    done, gate = itertools.count(1), asyncio.Semaphore(_AT_ONCE)
    progress(0, len(addresses))
    plain, transport = {"Accept-Encoding": "identity"}, httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=plain) as reader:

        async def ask(address: str) -> httpx.Response:
            async with gate:
                answer = await reader.get(address)
            # numbers may be missing where a page explains why
            if answer.status_code != 200 and not address.startswith("/api/"):
                raise UsageError(f"cannot write the page {address}: it answered with status {answer.status_code}")
            progress(next(done), len(addresses))
            return answer

        answers: dict[str, httpx.Response] = {}
        for is_data in (False, True):  # what a page has computed is remembered for the numbers behind it
            names = [name for name in addresses if name.startswith("/api/") == is_data]
            answers |= dict(zip(names, await asyncio.gather(*map(ask, names)), strict=True))
    return {
        name: (answer.content, answer.headers["content-type"])
        for name, answer in answers.items()
        if answer.status_code == 200
    }


def _file_name(address: str, media_type: str) -> str:
    """Return the name of the file for an address, relative to the target.

    >>> _file_name("/labs/gap", "text/html"), _file_name("/api/labs", "application/json")
    ('labs/gap/index.html', 'api/labs.json')
    """
    parts = urlsplit(address)
    path = PurePosixPath(*(quote(part, safe=" ()+,@~") for part in unquote(parts.path).strip("/").split("/")))
    slug = ""
    if parts.query:
        words = re.sub(r"[^A-Za-z0-9.]+", "-", unquote(parts.query)).strip("-.")[:_SLUG]
        slug = f"{words}-{hashlib.sha256(parts.query.encode()).hexdigest()[:6]}"
    if media_type.startswith("text/html"):
        return str(path / f"{slug or 'index'}.html") if parts.path != "/" else f"{slug or 'index'}.html"
    ending = path.suffix or _ENDINGS.get(media_type.partition(";")[0]) or (".json" if "json" in media_type else ".txt")
    stem = path.with_suffix("") if path.suffix else path
    return f"{stem / slug if slug else stem}{ending}"


def _relative(text: str, here: str, names: Mapping[str, str]) -> str:
    start = PurePosixPath(here).parent

    def replace(match: re.Match[str]) -> str:
        space, name, value = match["space"], match["name"], html.unescape(match["value"])
        address, _, fragment = value.partition("#")
        if address not in names:
            return f'{space}data-needs-server="" title="Needs bnlens serve"' if name == "href" else ""
        link = quote(os.path.relpath(names[address], start).replace(os.sep, "/"))
        return f'{space}{name}="{html.escape(link + (f"#{fragment}" if fragment else ""))}"'

    return _LINK.sub(replace, text)
