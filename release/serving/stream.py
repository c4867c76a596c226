"""Turns the engine's events for a request into server-sent events for its client."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from release.serving.completions import Refusal, Reply
from release.serving.decoding import GenerationRequest
from release.serving.engine import Done, Engine, Event, Failure, Piece

HEARTBEAT = 0.5
"""Seconds without an event after which a stream shows that it is alive."""
FRAME = 0.05
"""Seconds between two updates of the page, each with the whole answer so far."""


class PendingAnswer:
    """A request that the engine is answering, for use in the event loop."""

    def __init__(self, engine: Engine, request: GenerationRequest) -> None:
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()

        def listen(event: Event) -> None:
            # The loop, and every listener with it, may have ended.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(events.put_nowait, event)

        self._engine = engine
        self._events = events
        self._job = engine.submit(request, listen)

    def before(self) -> int | None:
        """How many requests wait before this one; None when it does not wait."""
        return self._engine.before(self._job)

    def cancel(self) -> None:
        """Stop its generation."""
        self._engine.cancel(self._job)

    async def events(self) -> AsyncIterator[Event | None]:
        """The engine's events, waiting pieces joined; None for each `HEARTBEAT` without one."""
        while True:
            try:
                events = [await asyncio.wait_for(self._events.get(), HEARTBEAT)]
            except TimeoutError:
                yield None
                continue
            events += [self._events.get_nowait() for _ in range(self._events.qsize())]
            text = "".join(event.text for event in events if isinstance(event, Piece))
            if text:
                yield Piece(text)
            if not isinstance(events[-1], Piece):
                yield events[-1]
                return


def event_line(content: dict[str, Any] | str) -> str:
    """One server-sent event."""
    text = content if isinstance(content, str) else json.dumps(content)
    return f"data: {text}\n\n"


async def completion_lines(answer: PendingAnswer, reply: Reply, usage: bool) -> AsyncIterator[str]:
    """The stream of an answer in OpenAI's form."""
    yield event_line(reply.chunk({"role": "assistant", "content": ""}))
    async for event in answer.events():
        match event:
            case None:
                yield ": waiting\n\n"
            case Piece():
                yield event_line(reply.chunk({"content": event.text}))
            case Failure():
                yield event_line(Refusal(500, event.message).content)
            case Done():
                yield event_line(reply.chunk({}, event.reason))
                if usage:
                    yield event_line(reply.usage_chunk(event))
    yield event_line("[DONE]")


async def page_lines(answer: PendingAnswer) -> AsyncIterator[str]:
    """The stream of an answer for our page: place in the queue, text, typeset text, end."""
    from release.typeset import typeset

    text = ""
    async for event in answer.events():
        match event:
            case None:
                yield event_line({"waiting": answer.before()})
            case Piece():
                text += event.text
                html = await asyncio.to_thread(typeset, text)
                yield event_line({"text": event.text, "html": html})
                await asyncio.sleep(FRAME)
            case Failure():
                yield event_line({"error": event.message})
            case Done():
                done = {"reason": event.reason, "tokens": event.tokens, "seconds": event.seconds}
                yield event_line({"done": done})
