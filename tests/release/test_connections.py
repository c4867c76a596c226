"""Clients that are slow, silent or many, before an application that needs no model."""

import asyncio
import contextlib
import json
import threading

import pytest

from release import chat
from release.serving.connections import Limits
from tests.release.test_chat import connect, running
from tests.release.test_engine import DEADLINE, until

NEVER = 10 * DEADLINE
"""Seconds that no test waits: what ends a connection within them is another limit."""
LIMITS = {"head": NEVER, "body": NEVER, "send": NEVER, "idle": NEVER}
ASK = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"

begun: list[str] = []
"""Paths of the answers that the application has begun."""


async def until_gone(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def app(scope, receive, send) -> None:
    """Answers by the body's length at ``/``; elsewhere before the body, much of it or for ever."""
    if scope["type"] != "http":
        return
    size, more = 0, scope["path"] == "/"
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        size, more = size + len(event["body"]), event["more_body"]
    begun.append(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    gone = scope["path"] == "/stream" and asyncio.ensure_future(until_gone(receive))
    while gone and not gone.done():
        await send({"type": "http.response.body", "body": bytes(1000), "more_body": True})
        await asyncio.sleep(0)
    body = bytes(int(scope["path"][1:])) if scope["path"][1:].isdigit() else b"%d" % size
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def serve(**limits):
    with running(app, **{**LIMITS, **limits}) as (address, state):
        yield address, state
        until(lambda: not state.tasks)


def rest(client) -> bytes:
    """What a server says until it closes the connection."""
    found = b""
    with client, contextlib.suppress(ConnectionResetError):
        while data := client.recv(65_536):
            found += data
    return found


def answer(client) -> bytes:
    """An answer of the application, whole."""
    found = b""
    while not found.endswith(b"\r\n0\r\n\r\n"):
        found += client.recv(65_536)
    return found


def trickle(clients, data: bytes) -> None:
    """Send to each client a byte at a time, until the server has closed them all."""
    left = list(clients)
    pause = threading.Event()
    for i in range(20 * DEADLINE):
        for client in list(left):
            try:
                client.sendall(data[i % len(data) :][:1])
            except OSError:
                left.remove(client)
                client.close()
        if not left:
            return
        pause.wait(0.05)
    raise AssertionError(f"{len(left)} connections are still open")


def test_heads_that_come_byte_by_byte_end() -> None:
    with serve(head=0.3) as (address, state):
        clients = [connect(address, b"GET / HTTP/1.1\r\nX: ") for _ in range(20)]
        trickle(clients, b"x")
        until(lambda: not state.connections)


@pytest.mark.parametrize("head", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", ["/", "/early"])
def test_so_do_bodies(head, path) -> None:
    with serve(body=0.3) as (address, state):
        sent = f"POST {path} HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n".encode()
        clients = [connect(address, sent) for _ in range(5)]
        trickle(clients, b"1\r\nx\r\n" if "chunked" in head else b"x")
        until(lambda: not state.connections)


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_late_client_is_reported(part) -> None:
    with serve() as (address, state), connect(address, ASK + bytes(1000)) as client:
        answer(client)
        # Of the second request, whose time no slow test has used up.
        (connection,) = state.connections
        connection._limits = Limits(head=0.2, body=0.2)
        client.sendall(b"GET / HT" if part == "head" else ASK + bytes(999))
        head, _, body = rest(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"Connection: close" in head
    error = json.loads(body)["error"]
    assert error["message"] == f"the request's {part} took too long"
    assert set(error) == {"message", "type", "param", "code"}


def test_one_that_says_nothing_is_told_nothing() -> None:
    with serve(head=0.2) as (address, _):
        assert rest(connect(address)) == b""


def test_a_request_that_came_in_time_is_not_late_later() -> None:
    with serve() as (address, state), connect(address, ASK + bytes(1000)) as idle:
        assert b"1000" in answer(idle)
        with connect(address, b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n") as reading:
            assert reading.recv(4096)
            until(lambda: len(state.connections) == 2)
            assert all(connection._reading is None for connection in list(state.connections))


def test_requests_that_come_in_one_piece() -> None:
    whole = ASK + bytes(1000)
    with serve(body=0.2) as (address, _):
        assert b"HTTP/1.1 408" in rest(connect(address, whole + whole[:-1]))
    with serve(idle=1) as (address, _):
        assert rest(connect(address, whole * 3)).count(b"HTTP/1.1 200") == 3
        # uvicorn's own time is the shorter one here.
        assert rest(connect(address, whole + b"GET / HT")).count(b"HTTP/1.1") == 1


def test_one_connection_too_many_is_refused_until_another_ends() -> None:
    with serve(connections=3) as (address, state):
        clients = [connect(address) for _ in range(3)]
        until(lambda: len(state.connections) == 3)
        head, _, body = rest(connect(address)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert "too many connections" in json.loads(body)["error"]["message"]
        clients.pop().close()
        until(lambda: len(state.connections) == 2)
        clients.append(connect(address, ASK.replace(b"1000", b"0")))
        assert answer(clients[-1]).startswith(b"HTTP/1.1 200")
        for client in clients:
            client.close()


@pytest.mark.parametrize("path", ["stream", "40000", "1000000"])
def test_a_client_that_does_not_read_is_left(monkeypatch, path) -> None:
    monkeypatch.setattr(chat, "SEND_BUFFER", 4096)
    begun.clear()
    with serve(send=0.3) as (address, state):
        asked = f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        with connect(address, asked):
            until(lambda: begun)
            until(lambda: not state.connections)


def test_one_that_reads_late_is_not_left_later(monkeypatch) -> None:
    monkeypatch.setattr(chat, "SEND_BUFFER", 4096)
    asked = b"GET /1000000 HTTP/1.1\r\nHost: a\r\n\r\n"
    with serve() as (address, state), connect(address, asked) as client:
        until(lambda: any(connection._sending for connection in list(state.connections)))
        found = 0
        while found < 1_000_000:
            found += len(client.recv(65_536))
        until(lambda: not any(connection._sending for connection in list(state.connections)))
