"""Runs the page."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from bnlens.errors import UsageError
from bnlens.web.connections import PATIENCE, Connection
from bnlens.web.labs.lab import LABS
from bnlens.web.site import Site

__all__ = ["serve"]

_BACKLOG = 128
_PATIENCE = 3  # seconds that open requests get at the end


def serve(
    app: FastAPI, *, host: str = "127.0.0.1", port: int = 8765, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve the application until Ctrl-C.

    Args:
        app: of `create_app`.
        host: address to bind to.
        port: port; 0 for any that is free.
        ready: called with the page's address once it can be opened.

    Raises:
        UsageError: the address or port cannot be used.
    """
    listener = _bind(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}/"
    options: dict[str, Any] = {"timeout_graceful_shutdown": _PATIENCE, "timeout_keep_alive": int(PATIENCE)}
    config = uvicorn.Config(app, http=Connection, log_level="warning", server_header=False, **options)
    logging.getLogger("bnlens.web").setLevel(logging.INFO)
    threading.Thread(target=_warm, args=(app.state.site,), daemon=True).start()
    ready(url)  # the socket listens already: who comes early waits a moment
    _Server(config, app.state.site).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that stops its computations as soon as it is told to end, so that open requests are answered at once."""

    def __init__(self, config: uvicorn.Config, site: Site) -> None:
        super().__init__(config)
        self._site = site

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self._site.answers.slow.stopping = True
        super().handle_exit(sig, frame)


def _warm(site: Site) -> None:
    """Compute the first answers of the labs and judge the claims while the reader still looks at the front page."""
    for lab in LABS:
        if lab.id in site.labs:
            _ = lab.compute(lab.defaults).figure_html
    site.results.read()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"there is no address {host!r} on this machine; use 127.0.0.1") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot serve at {host}, port {port}: {reason}; choose another --port") from error
    return listener
