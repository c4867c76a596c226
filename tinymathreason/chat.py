"""Encodes conversations by a chat template, with a mask of the tokens that the assistant writes.

The ids are those of transformers' own ``apply_chat_template``, with two intended differences. The
text of a message never becomes a control token, even if it contains the name of one. And the text
is split where the assistant's part begins, as it is when the model answers a prompt.

A template tells the assistant's parts by its generation blocks. Of a template without such blocks
they are found: a part begins where the prompt for it ends, and it ends with the token that ends an
answer. What the template makes of a conversation must show that, or the conversation is refused.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tinymathreason.chatml import Messages, conversation
from tinymathreason.cli import InputError

_PRIVATE = [chr(code) for code in range(0xE000, 0xF8FF)]
_CACHED = 1_000_000  # token ids
_BLOCK = re.compile(r"\{%-?\s*generation\s*-?%\}")
_QUESTION, _ANSWER = "What is 6 x 7?", "6 x 7 = 42.\n#### 42"
_PROBE = conversation(_QUESTION, _ANSWER)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as the model sees it."""

    ids: list[int]
    """Token ids."""
    assistant_mask: list[bool]
    """Whether each token is the assistant's: of its answers, with the token that ends each."""

    @property
    def labels(self) -> list[int]:
        """The assistant's ids, which the loss is computed on, and -100 elsewhere."""
        return [i if own else -100 for i, own in zip(self.ids, self.assistant_mask, strict=True)]


class TemplateError(InputError):
    """The template cannot render a conversation, or does not show where its answers are."""


class Chat:
    """A tokenizer with a chat template.

    Raises `InputError` when the template cannot be rendered or puts no control token after an
    answer, when the tokenizer's ids of a text depend on the text around it (but for the space that
    SentencePiece's put before a text), or when a control token is a single character.
    """

    stop: int
    """Id of the control token that ends an answer."""
    start: int | None
    """Id of the control token that begins the prompt for an answer; None without one."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        import tokenizers

        self.tokenizer = tokenizer
        self.template = template
        added = tokenizer.added_tokens_decoder.items()
        self._special = {token.content: i for i, token in added if token.special}
        if any(len(token) < 2 for token in self._special):
            raise InputError(
                "the tokenizer has a control token of one character, which text cannot avoid"
            )
        longest_first = sorted(self._special, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._has_blocks = bool(_BLOCK.search(template))
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        within = _unprefixed(content)
        self._has_prefix = within != content
        self._is_first_prefixed = _schemes(content) == {"first"}
        # By whether the text follows other text.
        self._encoders = [tokenizers.Tokenizer.from_str(json.dumps(c)) for c in (content, within)]
        for encoder in self._encoders:
            encoder.encode_special_tokens = True
            encoder.no_truncation()
            encoder.no_padding()
        self._known: dict[tuple[str, bool], list[int]] = {}
        self._held = 0
        text = self._text([*_PROBE, *conversation(_QUESTION)], False)
        end = self._control.search(text.rpartition(_ANSWER)[2])
        if end is None:
            raise InputError(
                "the chat template puts no special token of the tokenizer after an answer, so the "
                "model could not learn where an answer ends"
            )
        self._stop_text, self.stop = end[0], self._special[end[0]]
        question = conversation(_QUESTION)
        prompt = self._text(question, True).removeprefix(self._text(question, False))
        begin = self._control.search(prompt)
        self.start = self._special[begin[0]] if begin else None
        expected = tokenizer(self._text(_PROBE, False), add_special_tokens=False)["input_ids"]
        if self.encode([_PROBE])[0].ids != expected:
            raise InputError(
                "the tokenizer encodes an answer after its prompt differently from one alone; use "
                "a byte-level or a SentencePiece tokenizer, and a template whose prompt does not "
                "end with a space"
            )

    def encode(
        self,
        conversations: Sequence[Messages],
        prompt: bool = False,
        skipped: Sequence[int] = (),
    ) -> list[Encoded]:
        """The conversations as token ids; with ``prompt``, up to the assistant's next answer.

        ``skipped`` is the number of answers of each conversation, from its first, that are not
        marked. Raises `TemplateError` for a conversation that the template refuses, or in which it
        does not show the other answers.
        """
        counts = skipped or [0] * len(conversations)
        pairs = zip(conversations, counts, strict=True)
        cut = [self._cut(messages, prompt, count) for messages, count in pairs]
        self._learn(
            (text, is_within)
            for pieces in cut
            for text, _, is_within in pieces
            if is_within is not None
        )
        encoded = []
        for pieces in cut:
            ids: list[int] = []
            mask: list[bool] = []
            for text, is_assistant, within in pieces:
                new = [self._special[text]] if within is None else self._known[text, within]
                ids += new
                mask += [is_assistant] * len(new)
            encoded.append(Encoded(ids, mask))
        return encoded

    def _cut(
        self, messages: Messages, prompt: bool, skipped: int
    ) -> list[tuple[str, bool, bool | None]]:
        """The rendered text in pieces: text, whether it is the assistant's, whether it is `within`.

        A text is within if no space is put before it; None stands for a control token.
        """
        everything = "".join(value for message in messages for value in message.values())
        mark = next((char for char in _PRIVATE if char not in everything), None)
        if mark is None:
            raise InputError("a message has every character of Unicode's private use area")
        marked = [self._marked(message, mark) for message in messages]
        text, spans = self._render(marked, prompt)
        if not self._has_blocks:
            spans = list(self._answers(marked, text, prompt, skipped))
        elif skipped and len(spans) != sum(m["role"] == "assistant" for m in messages):
            raise TemplateError("the chat template has not one generation block for each answer")
        marks = set(spans[skipped:] if self._has_blocks else spans)
        pieces = []
        places = {0, len(text)} | {place for span in spans for place in span}
        controls = {match.span() for match in self._control.finditer(text)}
        places |= {place for span in controls for place in span}
        ends = {end for _, end in controls}
        ahead = sorted(spans, reverse=True)
        for start, end in itertools.pairwise(sorted(places)):
            while ahead and ahead[-1][1] <= start:
                ahead.pop()
            is_assistant = bool(ahead) and ahead[-1][0] <= start and ahead[-1] in marks
            piece = text[start:end].replace(mark, "")
            within = self._is_within(start, start in ends) if (start, end) not in controls else None
            pieces.append((piece, is_assistant, within))
        return pieces

    def _is_within(self, start: int, after_control: bool) -> bool:
        """Whether the tokenizer puts no space before the text at ``start``, unlike at the first."""
        if start == 0 or not self._has_prefix:
            return False
        return self._is_first_prefixed or not after_control

    def _marked(self, message: dict[str, str], mark: str) -> dict[str, str]:
        """A message with ``mark`` inserted into each name of a control token in its text."""
        marked = {}
        for key, value in message.items():
            while self._control.search(value):
                value = self._control.sub(lambda m: f"{m[0][:1]}{mark}{m[0][1:]}", value)
            marked[key] = value
        return marked

    def _render(self, messages: Messages, prompt: bool) -> tuple[str, list[tuple[int, int]]]:
        """The text of a conversation, and the assistant's parts in it."""
        import jinja2
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            texts, spans = render_jinja_template(
                [messages],
                chat_template=self.template,
                return_assistant_tokens_mask=self._has_blocks,
                add_generation_prompt=prompt,
                **self.tokenizer.special_tokens_map,
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise TemplateError(f"the chat template cannot be rendered: {error}") from error
        return texts[0], spans[0] if self._has_blocks else []

    def _text(self, messages: Messages, prompt: bool) -> str:
        return self._render(messages, prompt)[0]

    def _answers(
        self, messages: Messages, text: str, is_prompt: bool, skipped: int
    ) -> Iterator[tuple[int, int]]:
        """The assistant's parts of a rendered conversation, by the prompts for them.

        The first ``skipped`` ones are left out, and in a prompt, of which nothing is learnt, so are
        those that are not shown. In the texts of the messages no name of a control token is whole,
        see `_marked`.
        """
        turns = [
            number for number, message in enumerate(messages) if message["role"] == "assistant"
        ]
        for number in turns[skipped:]:
            prompt = self._text(messages[:number], True)
            end = text.find(self._stop_text, len(prompt))
            # Templates may trim a text, but some remove its thinking: the model would learn to
            # answer without.
            content = "".join(messages[number]["content"].split())
            part = "".join(text[len(prompt) : end].split())
            if end >= 0 and text.startswith(prompt) and part.endswith(content):
                yield len(prompt), end + len(self._stop_text)
            elif not is_prompt:
                raise TemplateError(
                    f"the chat template does not show answer {turns.index(number) + 1} of "
                    f"{len(turns)} whole between its prompt and its end; learn only the last one "
                    "(turns: last), put a generation block around it, or take another template"
                )

    def _learn(self, texts: Iterable[tuple[str, bool]]) -> None:
        """Encode the texts that are not cached, all in one call, so that all cores are used."""
        if self._held > _CACHED:
            self._known.clear()
            self._held = 0
        wanted = list(dict.fromkeys(texts))
        new = [text for text in wanted if text not in self._known]
        for is_within, encoder in enumerate(self._encoders):
            part = [key for key in new if key[1] == is_within]
            encoded = encoder.encode_batch_fast(
                [text for text, _ in part], add_special_tokens=False
            )
            self._known.update((key, e.ids) for key, e in zip(part, encoded, strict=True))
            self._held += sum(len(e.ids) for e in encoded)


def _unprefixed(content: Any) -> Any:
    """The content of a tokenizer.json, or a part of it, without the space put before a text."""
    if isinstance(content, list):
        return [_unprefixed(part) for part in content if not _is_prepend(part)]
    if not isinstance(content, dict):
        return content
    changes = {"prepend_scheme": "never", "add_prefix_space": False}
    parts = {"normalizer", "normalizers", "pre_tokenizer", "pretokenizers"}
    return {
        key: changes[key]
        if key in changes
        else None
        if key in parts and _is_prepend(value)
        else _unprefixed(value)
        if key in parts
        else value
        for key, value in content.items()
    }


def _is_prepend(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "Prepend"


def _schemes(content: dict[str, Any]) -> set[str]:
    """Where a tokenizer.json puts a space: before the ``first`` text, or before each."""
    before = content["pre_tokenizer"] or {}
    parts = before.get("pretokenizers", [before])
    return {part["prepend_scheme"] for part in parts if "prepend_scheme" in part}
