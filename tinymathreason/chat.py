"""Encodes conversations by a chat template, with a mask of the tokens that the assistant writes.

The ids are those of transformers' own ``apply_chat_template``, with two intended differences. The
text of a message never becomes a control token, even if it contains the name of one. And the text
is split where the assistant's part begins, as it is when the model answers a prompt.

A template tells the assistant's parts by its generation blocks. Of a template without such blocks
they are found: a part begins where the prompt for it ends, and it ends with the token that ends an
answer. What the template makes of a conversation must show that, or the conversation is refused.
"""

import itertools
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
    answer, when the tokenizer's ids of plain text depend on the text before a control token, or
    when a control token is a single character.
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
        self._plain = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()
        self._known: dict[str, list[int]] = {}
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
                "the tokenizer encodes text after a control token differently from text alone; "
                "use a byte-level tokenizer"
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
        self._learn(text for pieces in cut for text, _, control in pieces if not control)
        encoded = []
        for pieces in cut:
            ids: list[int] = []
            mask: list[bool] = []
            for text, is_assistant, control in pieces:
                new = [self._special[text]] if control else self._known[text]
                ids += new
                mask += [is_assistant] * len(new)
            encoded.append(Encoded(ids, mask))
        return encoded

    def _cut(self, messages: Messages, prompt: bool, skipped: int) -> list[tuple[str, bool, bool]]:
        """The rendered text in pieces: text, whether the assistant's, whether control."""
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
        ahead = sorted(spans, reverse=True)
        for start, end in itertools.pairwise(sorted(places)):
            while ahead and ahead[-1][1] <= start:
                ahead.pop()
            is_assistant = bool(ahead) and ahead[-1][0] <= start and ahead[-1] in marks
            piece = text[start:end].replace(mark, "")
            pieces.append((piece, is_assistant, (start, end) in controls))
        return pieces

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

    def _learn(self, texts: Iterable[str]) -> None:
        """Encode the texts that are not cached, all in one call, so that all cores are used."""
        if self._held > _CACHED:
            self._known.clear()
            self._held = 0
        wanted = list(dict.fromkeys(texts))
        new = [text for text in wanted if text not in self._known]
        encoded = self._plain.encode_batch_fast(new, add_special_tokens=False)
        self._known.update((text, e.ids) for text, e in zip(new, encoded, strict=True))
        self._held += sum(len(e.ids) for e in encoded)
