"""Reads one row of a question set as a conversation: questions, prompts or messages.

Messages are those of OpenAI (``role`` and ``content``) or of ShareGPT (``from`` and ``value``).
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.clean import is_unicode, normalise
from sft.config import QuestionSource
from tinymathreason.chatml import Messages, conversation

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation"), "tool"),
}
"""The roles of chat templates by the names that data sets have for them."""
COLUMNS = ("messages", "conversations", "conversation")
"""Columns in which a conversation is looked for."""
_USER = {"role": "user", "content": "?"}


class UnusableError(Exception):
    """A row that cannot be an example, with the reason as it is counted and in words."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason, self.why = reason, why


@dataclass(frozen=True, slots=True)
class Form:
    """Which columns of a source hold its conversations."""

    columns: tuple[str, ...]
    """One column of messages, or two: of the question or prompt, and of the answer."""

    @property
    def is_questions(self) -> bool:
        """Whether these are questions with worked answers, as far as the columns tell."""
        return len(self.columns) == 2 and self.columns != ("prompt", "completion")

    @classmethod
    def of(cls, source: QuestionSource, present: Sequence[str]) -> "Form | None":
        """The form of a source whose rows have the columns ``present``; None when none fits."""
        if source.messages is not None:
            return cls((source.messages,)) if source.messages in present else None
        if source.question in present and source.answer in present:
            return cls((source.question, source.answer))
        for column in COLUMNS:
            if column in present:
                return cls((column,))
        pair = ("prompt", "completion")
        return cls(pair) if set(pair) <= set(present) else None

    def read(self, row: Mapping[str, Any]) -> tuple[Messages, int]:
        """The conversation of a row: `tidy` of its messages, and how many answers a prompt has.

        Of a prompt's answers the loss sees none, as in TRL.

        Raises `UnusableError` for a row without one.
        """
        values = [row.get(column) for column in self.columns]
        for column, value in zip(self.columns, values, strict=True):
            if value is None:
                present = "it is null" if column in row else f"it has {', '.join(sorted(row))}"
                raise UnusableError("empty", f"has no {column!r}; {present}")
        if len(values) == 1:
            return tidy(_turns(values[0])), 0
        if not any(isinstance(value, list) for value in values):
            return tidy(conversation(*map(_text, values))), 0
        pairs = zip(("user", "assistant"), values, strict=True)
        prompt, completion = (
            [{"role": role, "content": value}] if isinstance(value, str) else _turns(value)
            for role, value in pairs
        )
        messages = tidy([*prompt, *completion])
        if not any(turn["role"] == "assistant" for turn in completion):
            raise UnusableError("no_answer", "has no answer in its completion")
        later = tidy([_USER, *completion])
        answers = [sum(m["role"] == "assistant" for m in turns) for turns in (messages, later)]
        return messages, answers[0] - answers[1]


def _turns(value: Any) -> Messages:
    """The messages of a list, or of its JSON, as tables without nested columns have it."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    if not isinstance(value, list):
        raise UnusableError("not_messages", f"has {type(value).__name__}, expected messages")
    turns = []
    for message in value:
        if not isinstance(message, Mapping):
            raise UnusableError("not_messages", f"has the message {message!r:.60}")
        name = message.get("role", message.get("from"))
        role = ROLES.get(name.lower()) if isinstance(name, str) else None
        if role is None:
            raise UnusableError("unknown_role", f"has a message of the role {name!r:.60}")
        if message.get("tool_calls") or message.get("function_call"):
            raise UnusableError("tool_calls", "has a tool call, which is no text")
        content = message.get("content", message.get("value"))
        turns.append({"role": role, "content": _text("" if content is None else content)})
    return turns


def _text(value: Any) -> str:
    """A message's text; whole numbers, as answers may be, and lists of text parts count as text."""
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in value]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(parts):
            return "".join(texts)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bytes):
        raise UnusableError("invalid_unicode", "has invalid UTF-8")
    if not isinstance(value, str):
        raise UnusableError("not_text", f"has {type(value).__name__}, expected text")
    return value


def tidy(messages: Messages) -> Messages:
    """The messages with normalised texts, as templates and the loss need them.

    Left out are an empty system message, what follows the last answer, and answers before the first
    message of a user. Messages of one role in a row, except of tools, become one, with a blank line
    between their texts. Raises `UnusableError` for an empty message, a text that is not Unicode,
    and a conversation without an answer.
    """
    turns: Messages = []
    for message in messages:
        role, content = message["role"], message["content"]
        if not is_unicode(content):
            raise UnusableError("invalid_unicode", "has an unpaired surrogate")
        content = normalise(content)
        if not content and role == "system":
            continue
        if not content:
            raise UnusableError("empty", f"has an empty text of the {role}")
        if role == "assistant" and not any(turn["role"] == "user" for turn in turns):
            continue
        if turns and turns[-1]["role"] == role != "tool":
            turns[-1]["content"] += f"\n\n{content}"
        else:
            turns.append({"role": role, "content": content})
    while turns and turns[-1]["role"] != "assistant":
        turns.pop()
    if not turns:
        raise UnusableError("no_answer", "has no answer of the assistant to a user")
    return turns
