"""Limits of time and number for connections, on top of uvicorn's protocol.

uvicorn closes a connection that is idle after an answer, and no other: a request that arrives byte
by byte, or an answer that the client never reads, would keep its connection open forever.
"""

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from release.serving.completions import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn.server import ServerState


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits of a client; times in seconds."""

    connections: int = 100
    """Most open connections."""
    head: float = 10
    """For a request's head, from its first byte; of a new connection, from its start."""
    body: float = 60
    """For a request's body."""
    send: float = 30
    """For reading a part of what the server sends."""
    idle: int = 5
    """Between an answer and the next request."""


class Config(uvicorn.Config):
    """uvicorn's configuration with `Limits`."""

    def __init__(self, app: "ASGIApp", limits: Limits) -> None:
        super().__init__(
            app,
            http=Connection,
            log_level="warning",
            timeout_keep_alive=limits.idle,
            # For clients that do not read their answers.
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        self.limits = limits


class Connection(H11Protocol):
    """A client's connection, which is closed when it exceeds a limit."""

    def __init__(
        self,
        config: Config,
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._awaited: str | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start, or refuse the connection when there are too many."""
        super().connection_made(transport)
        # Writing pauses as soon as anything is unsent.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > self._limits.connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again soon")
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        super().connection_lost(exc)
        self._await(None)
        self._sent()

    def handle_events(self) -> None:
        """Handle received data."""
        super().handle_events()
        self._watch()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._sending = self.loop.call_later(self._limits.send, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue after the client has read."""
        super().resume_writing()
        self._sent()

    def _should_upgrade(self) -> bool:
        return False  # web sockets are not used

    def _sent(self) -> None:
        if self._sending:
            self._sending.cancel()
            self._sending = None

    def _watch(self) -> None:
        """Start the timer of the missing part of a request; uvicorn has one for idle time."""
        if self.conn.their_state is h11.SEND_BODY:
            self._await("body", self._limits.body)
        elif self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
            self._await("head", self._limits.head)
        else:
            self._await(None)

    def _await(self, part: str | None, seconds: float = 0) -> None:
        # One more byte of the same part does not restart the timer.
        if part == self._awaited:
            return
        if self._reading:
            self._reading.cancel()
        self._awaited = part
        self._reading = self.loop.call_later(seconds, self._late, part) if part else None

    def _late(self, part: str) -> None:
        sent_nothing = part == "head" and not self.conn.trailing_data[0]
        if sent_nothing or (part == "body" and self.cycle.response_started):
            self.transport.close()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request's {part} took too long")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        if self.transport.is_closing():
            return
        body = json.dumps(Refusal(status, message).content)
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        more = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.transport.write((head + more + body).encode())
        self.transport.close()
