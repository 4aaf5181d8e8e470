"""Who may ask this server for what: it runs on the reader's own machine, beside whatever else the browser has open.

- Requests whose Host is not this server's are refused, so that a foreign name cannot be pointed at it (DNS rebinding).
- A request that changes something (any method but GET, HEAD and OPTIONS) must come from this site: ``Sec-Fetch-Site`` says
  so, and ``Origin``, or without one ``Referer``, names this very host and port. Browsers send at least one of the three with
  every such request and let no page choose them; a program that sends none is the reader's own.
- Other sites may link to a page, but not load it as a picture, a script or a frame.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MAX_BODY", "Guard", "allowed_names", "check_length", "is_loopback"]

MAX_BODY = 2**20
"""Bytes of the largest request without a file."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_PORT = re.compile(r":\d*$")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    # Plotly sets styles on elements and adds rules; it needs no script of its own making.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to ``host``."""
    address = _address(host)
    return host in _LOOPBACK or (address is not None and address.is_loopback)


def allowed_names(host: str) -> frozenset[str]:
    """Return the names by which a server bound to ``host`` may be asked for.

    A server bound to every address may also be asked for by any address in numbers, which no foreign name can imitate, and
    by this machine's name.
    """
    names, address = {*_LOOPBACK, host.strip("[]").lower()}, _address(host)
    if address is not None and address.is_unspecified:
        names |= {"*", socket.gethostname().lower()}
    return frozenset(names)


class Guard:
    """ASGI middleware that refuses the requests listed above and sends the security headers with every answer."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            status, sentence = refusal
            in_api = scope["path"].startswith("/api/")
            answer = JSONResponse({"error": sentence}, status) if in_api else PlainTextResponse(f"{sentence}\n", status)
            await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._knows(host):
            return 400, f"This server is not {host[:100]!r}: open it under the address that it printed."
        site = headers.get("sec-fetch-site")
        if scope["method"] in _SAFE_METHODS:
            if site == "cross-site" and headers.get("sec-fetch-mode", "navigate") != "navigate":
                return 403, "Another site tried to load this: open the address itself."
            return None
        source = headers.get("origin", headers.get("referer"))
        foreign = site not in (None, "same-origin", "none") or (source is not None and _host(source) != host.lower())
        return (403, "This did not come from a page of this server: send it from there.") if foreign else None

    def _knows(self, host: str) -> bool:
        name = _PORT.sub("", host).strip("[]").lower()
        return name in self._names or ("*" in self._names and _address(name) is not None)


def check_length(request: Request, max_bytes: int, sentence: str) -> None:
    """Find out whether a request may be read.

    Raises:
        HTTPException: 413 with the sentence, if it is larger than ``max_bytes`` or does not say how large it is.
    """
    length = request.headers.get("content-length", "" if "transfer-encoding" in request.headers else "0")
    if not length.isdecimal() or int(length) > max_bytes:
        raise HTTPException(413, sentence)


def _host(address: str) -> str:
    """Return host and port of an address in lower case, empty if it has none."""
    with contextlib.suppress(ValueError):
        return urlsplit(address).netloc.lower()
    return ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]"))
    return None
