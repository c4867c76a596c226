"""Answers the requests of several users with one model, token by token.

One thread owns the model. It takes one token for each active request in turn, so that all users see
their answers grow; one step of the model makes the tokens of all (`release.serving.batch`). Every
request has its own rows of the cache and random numbers, so that no answer depends on another one.
"""

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from release.serving.batch import Batch, tokens
from release.serving.decoding import GenerationRequest, Text
from release.serving.prompt import least_tokens
from tinymathreason.chatml import Messages
from tinymathreason.cli import InputError


@dataclass(frozen=True, slots=True)
class Piece:
    """The next part of an answer, in whole characters."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an answer, with its number of tokens, without an end token, and its seconds.

    ``reason`` is ``stop`` when the model or a stop text ended it, ``length`` at its limit.
    """

    reason: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer could not be generated, or not to its end."""

    message: str


Event = Piece | Done | Failure
"""What a listener receives: pieces, then one of the other two."""


class FullError(Exception):
    """The queue is full, or the engine is closed."""


class TooLongError(Exception):
    """The prompt leaves no room in the model's context; the message gives both sizes in tokens."""


@dataclass(eq=False, slots=True)
class Job:
    """A request that waits or is being answered."""

    events: Generator[Event]
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

        self._batch = Batch(model)
        self._chat = Chat(tokenizer, tokenizer.chat_template)
        self._least_tokens = least_tokens(tokenizer.backend_tokenizer)
        # The encoder's cache must not be read while another thread writes to it.
        self._encoding = threading.Lock()
        self._ends = frozenset(decoding.stop_ids(model, tokenizer, "chat"))
        self.context: int = model.config.max_position_embeddings
        """Tokens that a prompt and its answer may have together."""
        self.closed = False
        """Whether it answers no more requests: it was closed, or a bug ended its thread."""
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
        """An engine for the model in a folder; `InputError` when there is no usable one.

        Requests alone decide the decoding; other settings of the folder's generation configuration
        are ignored, with a note on stderr.
        """
        from evaluation import decoding
        from evaluation.generate import Generator
        from sft.model import loading

        with loading(str(folder)):
            loaded = Generator(folder)
            if loaded.form != "chat":
                raise InputError(f"{folder}: has no chat template; fine-tune the model first")
            ignored = decoding.ignored(loaded.model.generation_config)
            if note := decoding.note(folder, ignored):
                print(note, file=sys.stderr)
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
        # The first waiting request takes a free place in the thread's next round.
        return self._queue + self._parallel - len(self._active)

    def encode(self, messages: Messages) -> list[int]:
        """The token ids of the prompt for the next answer of a conversation.

        Raises `InputError` when the template does not accept it, and `TooLongError`, without
        tokenising it, when its texts are certainly too long.
        """
        least = sum(self._least_tokens(message["content"]) for message in messages)
        if least >= self.context:
            raise TooLongError(self._too_long(f"at least {least:,}"))
        with self._encoding:
            return self._chat.encode([messages], prompt=True)[0].ids

    def submit(self, request: GenerationRequest, listen: Callable[[Event], None]) -> Job:
        """Append a request to the queue; ``listen`` is called in the engine's thread.

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
        """Stop a job in any state; its listener receives nothing more."""
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
                        job.events.close()
                        with self._changed:
                            self._active.remove(job)
        finally:
            # Also after an error that is a bug, so that no client waits forever.
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
            # Torch's errors, mostly out of memory, concern this request; others can continue.
            message = str(error).strip() or type(error).__name__
            event = Failure(f"the model failed: {message.splitlines()[0]}")
        if event != Piece("") and not job.cancelled:
            job.listen(event)
        return isinstance(event, Piece)

    def _events(self, request: GenerationRequest) -> Generator[Event]:
        """A piece for every token, empty where its text is not certain yet, and the end."""
        started = time.monotonic()
        text = Text(self._chat.tokenizer.backend_tokenizer.decode, request.stop)
        count, reason = 0, "length"
        limit = min(request.max_tokens, self.context - len(request.ids))
        with contextlib.closing(tokens(self._batch, request)) as continued:
            for token in continued:
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
