"""Refuses requests that another web site could have made a browser send."""

import ipaddress
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from release.serving.completions import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # Scripts and styles are our files, and only one named policy may turn text into HTML.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types typeset",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware against requests that another web site makes a browser send.

    A site may resolve its own name to this machine's address (DNS rebinding), so ``Host`` must be a
    name of the server at ``host`` or one of ``hosts``. A site may also send forms and beacons here,
    so ``Origin`` must be this server or one of ``origins``. Either collection may contain ``*``,
    which allows any. Every response gets `HEADERS`.
    """

    def __init__(
        self, app: "ASGIApp", host: str, hosts: Collection[str] = (), origins: Collection[str] = ()
    ) -> None:
        self._app = app
        self._hosts = {"localhost", "127.0.0.1", "::1", host.lower(), *map(str.lower, hosts)}
        self._origins = frozenset(origins)
        # Beyond loopback a machine can have addresses that it does not know. They are allowed as
        # its name is: no site can claim an address.
        self._addresses = not loopback(host)
        if self._addresses:
            self._hosts.add(socket.gethostname().lower())

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        from starlette.datastructures import Headers, MutableHeaders
        from starlette.responses import JSONResponse

        async def send_guarded(message: "Message") -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._known(host):
            message = f"host {host!r} is not served; use an address, or allow it by --allowed-hosts"
            refusal = Refusal(403, message)
        elif not (origin is None or self._friendly(origin, host)):
            message = f"origin {origin!r} may not send requests; allow it with --allowed-origins"
            refusal = Refusal(403, message)
        else:
            await self._app(scope, receive, send_guarded)
            return
        await JSONResponse(refusal.content, refusal.status)(scope, receive, send_guarded)

    def _known(self, host: str) -> bool:
        name = _hostname(host)
        if name is None:
            return False
        return name in self._hosts or "*" in self._hosts or (self._addresses and _address(name))

    def _friendly(self, origin: str, host: str) -> bool:
        same = origin.partition("://")[2].lower() == host.lower()
        return same or not self._origins.isdisjoint({origin, "*"})


def _hostname(netloc: str) -> str | None:
    if set(netloc) & set("@/?#\\"):
        return None  # urlsplit would take a part of it for the name
    try:
        return urlsplit(f"//{netloc}").hostname
    except ValueError:
        return None


def _address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def loopback(host: str) -> bool:
    """Whether a server that listens at ``host`` is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
