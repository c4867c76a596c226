"""What the engine says of a request in; an answer's server-sent events out."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from release.serving.completions import Refusal, Reply
from release.serving.decoding import Request
from release.serving.engine import Done, Engine, Event, Failure, Piece

BEAT = 0.5
"""Seconds of silence after which a stream shows that it is alive."""
FRAME = 0.05
"""Seconds between two pictures of an answer on the page, each of which holds all of it."""


class Answer:
    """A request that the engine works on, as seen from the event loop."""

    def __init__(self, engine: Engine, request: Request) -> None:
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()

        def listen(event: Event) -> None:
            # The loop may have ended, and with it everyone who listened.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(events.put_nowait, event)

        self._engine = engine
        self._events = events
        self._job = engine.submit(request, listen)

    def before(self) -> int | None:
        """How many requests wait before this one; None when it does not wait."""
        return self._engine.before(self._job)

    def cancel(self) -> None:
        """Have no more of it generated."""
        self._engine.cancel(self._job)

    async def events(self) -> AsyncIterator[Event | None]:
        """What the engine says, pieces that came meanwhile in one; None after a silence."""
        while True:
            try:
                found = [await asyncio.wait_for(self._events.get(), BEAT)]
            except TimeoutError:
                yield None
                continue
            found += [self._events.get_nowait() for _ in range(self._events.qsize())]
            text = "".join(event.text for event in found if isinstance(event, Piece))
            if text:
                yield Piece(text)
            if not isinstance(found[-1], Piece):
                yield found[-1]
                return


def event_line(content: dict[str, Any] | str) -> str:
    """One server-sent event."""
    text = content if isinstance(content, str) else json.dumps(content)
    return f"data: {text}\n\n"


async def completion_lines(answer: Answer, reply: Reply, usage: bool) -> AsyncIterator[str]:
    """An answer as OpenAI's clients read a stream."""
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


async def page_lines(answer: Answer) -> AsyncIterator[str]:
    """An answer as our page reads it: its place in the queue, its text, that typeset, its end."""
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
