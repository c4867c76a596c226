"""The web application of a chat model: a page, and OpenAI's chat completions.

``transformers serve`` was considered instead: it has no page, its queue is unbounded, and it does
not report a prompt that is longer than the model's context.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release.serving.completions import (
    UNNAMED,
    CompletionRequest,
    Refusal,
    Reply,
    read_object,
    read_request,
)
from release.serving.decoding import GenerationRequest
from release.serving.engine import Done, Engine, Failure, FullError, Piece, TooLongError
from release.serving.guard import Guard
from release.serving.stream import PendingAnswer, completion_lines, event_line, page_lines
from tinymathreason.cli import InputError

if TYPE_CHECKING:
    import fastapi
    from starlette.types import Receive, Scope, Send

ASSETS = Path(__file__).parent
MAX_BODY = 1_000_000
"""Most bytes of a request's body."""
RETRY_AFTER = 5
"""Seconds after which a refused client may try again."""


async def read_body(request: "fastapi.Request") -> bytes:
    """The body of a JSON request; `Refusal` for another content type or too many bytes."""
    # A browser sends another site's JSON only after this server has allowed the site.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "send JSON: content-type must be application/json")
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        # A part of the excess is read: a client that is still sending would not see the answer.
        if size > 32 * MAX_BODY:
            break
        if size <= MAX_BODY:
            body += chunk
    if size > MAX_BODY:
        raise Refusal(413, f"the body has {size:,} bytes; the most is {MAX_BODY:,}")
    return bytes(body)


def make_app(
    engine: Engine,
    name: str,
    max_tokens: int,
    host: str,
    hosts: Collection[str] = (),
    origins: Collection[str] = (),
) -> "fastapi.FastAPI":
    """The application. ``name`` is the model's, ``max_tokens`` the limit of an answer.

    The server listens at ``host``. ``hosts`` are further names of it, and ``origins`` are the other
    sites whose pages may send requests.
    """
    import fastapi
    from fastapi.responses import JSONResponse, Response, StreamingResponse
    from starlette.exceptions import HTTPException
    from starlette.middleware.cors import CORSMiddleware
    from starlette.requests import ClientDisconnect

    from release.typeset import STYLE, typeset

    class Stream(StreamingResponse):
        """Server-sent events of an answer, whose generation stops when they end for any reason."""

        def __init__(self, answer: PendingAnswer, lines: AsyncIterator[str]) -> None:
            super().__init__(lines, media_type="text/event-stream")
            self._answer = answer

        async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
            try:
                await super().__call__(scope, receive, send)
            finally:
                self._answer.cancel()

    async def begin(request: fastapi.Request) -> tuple[CompletionRequest, PendingAnswer, Reply]:
        body = read_request(await read_body(request))
        check_model(body.model)
        if engine.full:  # before the work of encoding
            raise unavailable()
        messages = [message.model_dump() for message in body.messages]
        limit = min(max_tokens, body.max_completion_tokens or body.max_tokens or max_tokens)
        try:
            ids = await asyncio.to_thread(engine.encode, messages)
            generation = GenerationRequest(
                ids, limit, body.temperature, body.top_p, body.stop, body.seed
            )
            return body, PendingAnswer(engine, generation), Reply(name, len(ids))
        except InputError as error:
            raise Refusal(400, str(error), "invalid_value", "messages") from error
        except TooLongError as error:
            raise Refusal(400, str(error), "context_length_exceeded", "messages") from error
        except FullError as error:
            raise unavailable() from error

    def unavailable() -> Refusal:
        if engine.closed:
            return Refusal(503, "the server has stopped; start it again", "stopped")
        return Refusal(503, "too many requests are waiting; try again soon", "queue_full")

    def check_model(requested: Any) -> None:
        if requested not in (name, *UNNAMED):
            message = f"the model {requested!r} is not served here; {name!r} is"
            raise Refusal(404, message, "model_not_found", "model")

    def refuse(_: fastapi.Request, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException):
            error = Refusal(error.status_code, error.detail.lower())
        assert isinstance(error, Refusal)
        soon = error.content["error"]["code"] == "queue_full"
        headers = {"Retry-After": str(RETRY_AFTER)} if soon else None
        return JSONResponse(error.content, error.status, headers)

    # FastAPI's pages of documentation load scripts from another site.
    app = fastapi.FastAPI(openapi_url=None)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
            allow_private_network=True,
        )
    app.add_middleware(Guard, host=host, hosts=hosts, origins=origins)
    app.add_exception_handler(Refusal, refuse)
    app.add_exception_handler(HTTPException, refuse)
    # The client disconnected while it was sending.
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=499))

    @app.post("/v1/chat/completions")
    async def complete(request: fastapi.Request) -> Response:
        body, answer, reply = await begin(request)
        if body.stream:
            usage = body.stream_options.include_usage
            return Stream(answer, completion_lines(answer, reply, usage))
        text = ""
        try:
            async for event in answer.events():
                match event:
                    case Piece():
                        text += event.text
                    case Failure():
                        raise Refusal(500, event.message)
                    case Done():
                        return JSONResponse(reply.whole(text, event))
                if await request.is_disconnected():
                    break
        finally:
            answer.cancel()
        return Response(status_code=499)

    @app.post("/ask")
    async def ask(request: fastapi.Request) -> Response:
        _, answer, _ = await begin(request)
        return Stream(answer, page_lines(answer))

    @app.post("/typeset")
    async def show(request: fastapi.Request) -> dict[str, str]:
        text = read_object(await read_body(request)).get("text")
        if not isinstance(text, str):
            raise Refusal(400, "text: expected a text", "invalid_value", "text")
        return {"html": await asyncio.to_thread(typeset, text)}

    @app.post("/load_model")
    async def load_model(request: fastapi.Request) -> Response:
        # `transformers chat` requests the model to be loaded before its first prompt.
        check_model(read_object(await read_body(request)).get("model"))
        ready = event_line({"status": "ready", "cached": True})
        return Response(ready, media_type="text/event-stream")

    described = {"id": name, "object": "model", "created": 0, "owned_by": "tinymathreason"}
    described["max_model_len"] = engine.context

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [described]}

    @app.get("/v1/models/{requested:path}")
    def model(requested: str) -> dict[str, Any]:
        check_model(requested)
        return described

    @app.get("/health")
    def health() -> JSONResponse:
        state = {"status": "stopped" if engine.closed else "ok", "model": name, **engine.state()}
        return JSONResponse(state, 503 if engine.closed else 200)

    def serve(path: str, kind: str, content: str) -> None:
        app.get(path)(lambda: Response(content, media_type=kind))

    page, style, script = (
        (ASSETS / f"chat.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    serve("/", "text/html", page)
    serve("/chat.css", "text/css", f"{style}\n{STYLE}")
    serve("/chat.js", "text/javascript", script)
    return app
