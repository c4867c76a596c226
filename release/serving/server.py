"""An engine in; a web application out: a page to ask at, and OpenAI's chat completions beside it.

transformers' own server, ``transformers serve``, was looked at first: it has no page, its queue has
no bound, and it does not tell when a prompt is longer than the model's context.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release.serving.completions import UNNAMED, Asked, Refusal, Reply, read_asked, read_object
from release.serving.decoding import Request
from release.serving.engine import Done, Engine, Failure, FullError, Piece, TooLongError
from release.serving.guard import Guard
from release.serving.stream import Answer, completion_lines, event_line, page_lines
from tinymathreason.cli import InputError

if TYPE_CHECKING:
    import fastapi
    from starlette.types import Receive, Scope, Send

ASSETS = Path(__file__).parent
MAX_BODY = 1_000_000
"""Most bytes of a request."""
RETRY_AFTER = 5
"""Seconds after which a refused client may ask again."""


async def read_body(request: "fastapi.Request") -> bytes:
    """The JSON in a request; `Refusal` when it says to be something else or is too large."""
    # A browser asks this server before it sends another site's JSON, and the server agrees
    # for allowed sites only.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "send JSON: content-type must be application/json")
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        # Some of what is too much is read: a client that is still sending would not see the answer.
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
    """The application: ``name`` is the model's, ``max_tokens`` the most that an answer may have.

    ``host`` is where it listens. It is asked for by that name and by those in ``hosts``, and by
    pages of its own and of ``origins``.
    """
    import fastapi
    from fastapi.responses import JSONResponse, Response, StreamingResponse
    from starlette.exceptions import HTTPException
    from starlette.middleware.cors import CORSMiddleware
    from starlette.requests import ClientDisconnect

    from release.typeset import STYLE, typeset

    class Stream(StreamingResponse):
        """Server-sent events of an answer, which ends with them however they end."""

        def __init__(self, answer: Answer, lines: AsyncIterator[str]) -> None:
            super().__init__(lines, media_type="text/event-stream")
            self._answer = answer

        async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
            try:
                await super().__call__(scope, receive, send)
            finally:
                self._answer.cancel()

    async def begin(request: fastapi.Request) -> tuple[Asked, Answer, Reply]:
        asked = read_asked(await read_body(request))
        check_model(asked.model)
        if engine.full:  # before the work of encoding
            raise unavailable()
        messages = [said.model_dump() for said in asked.messages]
        most = min(max_tokens, asked.max_completion_tokens or asked.max_tokens or max_tokens)
        try:
            ids = await asyncio.to_thread(engine.encode, messages)
            wanted = Request(ids, most, asked.temperature, asked.top_p, asked.stop, asked.seed)
            return asked, Answer(engine, wanted), Reply(name, len(ids))
        except InputError as error:
            raise Refusal(400, str(error), "invalid_value", "messages") from error
        except TooLongError as error:
            raise Refusal(400, str(error), "context_length_exceeded", "messages") from error
        except FullError as error:
            raise unavailable() from error

    def unavailable() -> Refusal:
        if engine.closed:
            return Refusal(503, "the server has stopped; start it again", "stopped")
        return Refusal(503, "too many are asking; try again soon", "queue_full")

    def check_model(asked: Any) -> None:
        if asked not in (name, *UNNAMED):
            message = f"the model {asked!r} is not here; {name!r} is"
            raise Refusal(404, message, "model_not_found", "model")

    def refuse(_: fastapi.Request, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException):
            error = Refusal(error.status_code, error.detail.lower())
        assert isinstance(error, Refusal)
        soon = error.content["error"]["code"] == "queue_full"
        headers = {"Retry-After": str(RETRY_AFTER)} if soon else None
        return JSONResponse(error.content, error.status, headers)

    # The pages that describe a FastAPI application load scripts from another site.
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
    # Nobody reads it: the client left while it was sending.
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=499))

    @app.post("/v1/chat/completions")
    async def complete(request: fastapi.Request) -> Response:
        asked, answer, reply = await begin(request)
        if asked.stream:
            usage = asked.stream_options.include_usage
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
            raise Refusal(400, "text: a text is needed", "invalid_value", "text")
        return {"html": await asyncio.to_thread(typeset, text)}

    @app.post("/load_model")
    async def load_model(request: fastapi.Request) -> Response:
        # `transformers chat` asks for the model before its first question.
        check_model(read_object(await read_body(request)).get("model"))
        ready = event_line({"status": "ready", "cached": True})
        return Response(ready, media_type="text/event-stream")

    described = {"id": name, "object": "model", "created": 0, "owned_by": "tinymathreason"}
    described["max_model_len"] = engine.context

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [described]}

    @app.get("/v1/models/{asked:path}")
    def model(asked: str) -> dict[str, Any]:
        check_model(asked)
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
