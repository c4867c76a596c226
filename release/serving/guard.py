"""What a browser sends in; what another web site could have made it send is refused."""

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from release.serving.completions import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # Scripts and styles are files of ours, and only one named policy may turn text into HTML.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types typeset",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """A wrapped application that another web site cannot make a browser talk to.

    A site may give its own name this machine's address (DNS rebinding), so ``Host`` must be one of
    ``hosts``, where there are any; and it may send forms and beacons here, so ``Origin`` must be
    this server. Every answer gets `HEADERS`.
    """

    def __init__(self, app: "ASGIApp", hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

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
        if self._hosts and _hostname(host) not in self._hosts:
            refusal = Refusal(403, f"host {host!r} is not served; use http://127.0.0.1")
        elif origin is not None and origin.partition("://")[2].lower() != host.lower():
            refusal = Refusal(403, f"origin {origin!r} may not ask here")
        else:
            await self._app(scope, receive, send_guarded)
            return
        await JSONResponse(refusal.content, refusal.status)(scope, receive, send_guarded)


def _hostname(netloc: str) -> str | None:
    if set(netloc) & set("@/?#\\"):
        return None  # urlsplit would find a name in it
    try:
        return urlsplit(f"//{netloc}").hostname
    except ValueError:
        return None


def loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens at ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
