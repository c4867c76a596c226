"""Conversations in; answers out, token by token, of one model that several users share.

One thread owns the model. It goes round the requests that are being answered and gives each one
token a turn, so users stream side by side. Every request has its own cache and its own random
numbers: what one is told cannot depend on another.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from release.serving.decoding import Request, Text, tokens
from release.serving.prompt import least_tokens
from tinymathreason.chatml import Messages
from tinymathreason.cli import InputError


@dataclass(frozen=True, slots=True)
class Piece:
    """The next part of an answer, in whole characters."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an answer: of how many tokens, not counting the last, and after what time.

    ``reason`` is ``stop`` when the model or a stop text ended it, ``length`` at its limit.
    """

    reason: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer could not be made, or not all of it."""

    message: str


Event = Piece | Done | Failure
"""What a listener is told: pieces, and then one of the other two."""


class FullError(Exception):
    """As many requests are waiting as may, or none is answered any more."""


class TooLongError(Exception):
    """The prompt leaves no room in the model's context; the message tells both in tokens."""


@dataclass(eq=False, slots=True)
class Job:
    """A request on its way."""

    events: Iterator[Event]
    listen: Callable[[Event], None]
    cancelled: bool = False


class Engine:
    """A model with its tokenizer and a thread that answers ``parallel`` requests at a time.

    ``queue`` more may wait, in the order in which they came. Raises `InputError` for a tokenizer
    without a usable chat template.
    """

    def __init__(self, model: Any, tokenizer: Any, parallel: int = 2, queue: int = 8) -> None:
        from evaluation import decoding
        from tinymathreason.chat import Chat

        self._model = model
        self._chat = Chat(tokenizer, tokenizer.chat_template)
        self._least_tokens = least_tokens(tokenizer.backend_tokenizer)
        # One user's text may not be looked up in the encoder's memory while another's is written.
        self._encoding = threading.Lock()
        self._ends = frozenset(decoding.stop_ids(model, tokenizer, "chat"))
        self.context: int = model.config.max_position_embeddings
        """Tokens that a prompt and its answer may have together."""
        self.closed = False
        """Whether requests are answered no longer: it was closed, or a bug ended its thread."""
        self._generated = 0
        self._parallel = parallel
        self._queue = queue
        self._active: list[Job] = []
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @classmethod
    def load(cls, folder: Path, parallel: int = 2, queue: int = 8) -> Self:
        """An engine of a model's folder; `InputError` when it holds no usable one.

        Answers are decoded as requests say; what the folder asks for besides is told and not done.
        """
        from evaluation import decoding
        from evaluation.generate import Generator
        from sft.model import making

        with making(str(folder)):
            loaded = Generator(folder)
            if loaded.form != "chat":
                raise InputError(f"{folder}: no chat template there; fine-tune the model first")
            asked = decoding.ignored(loaded.model.generation_config)
            if told := decoding.note(folder, asked):
                print(told, file=sys.stderr)
            return cls(loaded.model, loaded.tokenizer, parallel, queue)

    def state(self) -> dict[str, int]:
        """Requests that are being answered, that wait, and tokens generated since the start."""
        active, waiting = len(self._active), len(self._waiting)
        return {"active": active, "waiting": waiting, "generated": self._generated}

    @property
    def full(self) -> bool:
        """Whether a request would be refused now."""
        with self._changed:
            return self.closed or len(self._waiting) >= self._room()

    def _room(self) -> int:
        # Whoever waits first takes a free place as soon as the thread has turned round.
        return self._queue + self._parallel - len(self._active)

    def encode(self, messages: Messages) -> list[int]:
        """The prompt that asks for the answer to a conversation, as token ids.

        Raises `InputError` when the template does not take it, and `TooLongError`, without reading
        it, when a text is so long that its tokens cannot be few enough.
        """
        least = sum(self._least_tokens(message["content"]) for message in messages)
        if least >= self.context:
            raise TooLongError(self._too_long(f"at least {least:,}"))
        with self._encoding:
            return self._chat.encode([messages], prompt=True)[0].ids

    def submit(self, request: Request, listen: Callable[[Event], None]) -> Job:
        """Put a request last in the queue; ``listen`` is called in the engine's thread.

        Raises `TooLongError` when the prompt fills the context, `FullError` when the queue is full.
        """
        if len(request.ids) >= self.context:
            raise TooLongError(self._too_long(f"{len(request.ids):,}"))
        job = Job(self._events(request), listen)
        with self._changed:
            if self.closed or len(self._waiting) >= self._room():
                raise FullError
            self._waiting.append(job)
            self._changed.notify()
        return job

    def _too_long(self, tokens: str) -> str:
        return (
            f"the conversation has {tokens} tokens; the model's context has room "
            f"for {self.context:,}, the answer included"
        )

    def before(self, job: Job) -> int | None:
        """How many requests wait before this one; None when it does not wait."""
        with self._changed:
            return self._waiting.index(job) if job in self._waiting else None

    def cancel(self, job: Job) -> None:
        """Generate no more for a job, whatever state it is in; its listener hears nothing more."""
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)

    def close(self) -> None:
        """End every job with a failure, and the thread."""
        with self._changed:
            self.closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._ready():
                for job in list(self._active):
                    if job.cancelled or not self._turn(job):
                        with self._changed:
                            self._active.remove(job)
        finally:
            # Also after an error that is a bug: nobody is left waiting for an answer.
            with self._changed:
                self.closed = True
                left = [*self._active, *self._waiting]
                self._active.clear()
                self._waiting.clear()
            for job in left:
                job.listen(Failure("the server is stopping"))

    def _ready(self) -> bool:
        """Wait for work and take it up; False when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._active or self._waiting)
            while self._waiting and len(self._active) < self._parallel:
                self._active.append(self._waiting.popleft())
            return not self.closed

    def _turn(self, job: Job) -> bool:
        """Generate one token of a job; False when it has ended."""
        try:
            event = next(job.events)
        except (MemoryError, RuntimeError) as error:
            # Torch's errors, out of memory above all, are of this request; others may go on.
            said = str(error).strip() or type(error).__name__
            event = Failure(f"the model failed: {said.splitlines()[0]}")
        if event != Piece("") and not job.cancelled:
            job.listen(event)
        return isinstance(event, Piece)

    def _events(self, request: Request) -> Iterator[Event]:
        """A piece for every token, empty where its text is not certain yet, and the end."""
        started = time.monotonic()
        text = Text(self._chat.tokenizer.backend_tokenizer.decode, request.stop)
        count, reason = 0, "length"
        limit = min(request.max_tokens, self.context - len(request.ids))
        for token in tokens(self._model, request):
            if token in self._ends:
                reason = "stop"
                break
            count += 1
            self._generated += 1
            yield Piece(text.add(token))
            if text.stopped or count == limit:
                break
        if not text.stopped:
            yield Piece(text.end())
        yield Done("stop" if text.stopped else reason, count, time.monotonic() - started)
