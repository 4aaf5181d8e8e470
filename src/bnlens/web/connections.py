"""Connections that end: those over which no whole request comes, and bodies that stop on their way."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["PATIENCE", "Connection", "PatientBody"]

PATIENCE = 30.0
"""Seconds without a byte of a body, or without a whole request, after which a connection is closed."""


class Connection(H11Protocol):
    """A connection of uvicorn that is closed when it has had no request to answer for a while, half a request included."""

    patience = PATIENCE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch."""
        super().connection_made(transport)
        self._look(None)

    def _look(self, before: object) -> None:
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if before is not None and (cycle or self) is before and (cycle is None or cycle.response_complete):
            self.transport.close()
        else:
            self.loop.call_later(self.patience, self._look, cycle or self)


class PatientBody:
    """ASGI middleware to which a body that stops on its way is a reader who has gone, and which answers HEAD as GET.

    The server leaves the body of an answer to HEAD out.
    """

    def __init__(self, app: ASGIApp, patience: float = PATIENCE) -> None:
        self._app = app
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_whole = False

        async def patient() -> Message:
            nonlocal is_whole
            if is_whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._patience)
            except asyncio.TimeoutError:
                return {"type": "http.disconnect"}
            is_whole = not message.get("more_body", False)
            return message

        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self._app({**scope, "method": method}, patient, send)
