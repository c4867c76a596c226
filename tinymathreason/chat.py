"""Encodes conversations by a chat template, with a mask of the tokens that the assistant writes.

The ids are those of transformers' own ``apply_chat_template``, with two intended differences. The
text of a message never becomes a control token, even if it contains the name of one. And the text
is split where the assistant's part begins, as it is when the model answers a prompt.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tinymathreason.chatml import Messages
from tinymathreason.cli import InputError

_PRIVATE = [chr(code) for code in range(0xE000, 0xF8FF)]
_CACHED = 1_000_000  # token ids
_PROBE: Messages = [
    {"role": "user", "content": "What is 6 x 7?"},
    {"role": "assistant", "content": "6 x 7 = 42.\n#### 42"},
]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as the model sees it."""

    ids: list[int]
    """Token ids."""
    assistant_mask: list[bool]
    """Whether each token is the assistant's, by the template's generation blocks."""

    @property
    def labels(self) -> list[int]:
        """The assistant's ids, which the loss is computed on, and -100 elsewhere."""
        return [i if own else -100 for i, own in zip(self.ids, self.assistant_mask, strict=True)]


class Chat:
    """A tokenizer with a chat template.

    Raises `InputError` when the template cannot be rendered, when the tokenizer's ids of plain text
    depend on the text before a control token, or when a control token is a single character.
    """

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
        self._plain = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()
        self._known: dict[str, list[int]] = {}
        self._held = 0
        expected = tokenizer(self._render(_PROBE, False)[0], add_special_tokens=False)["input_ids"]
        if self.encode([_PROBE])[0].ids != expected:
            raise InputError(
                "the tokenizer encodes text after a control token differently from text alone; "
                "use a byte-level tokenizer"
            )

    def encode(self, conversations: Sequence[Messages], prompt: bool = False) -> list[Encoded]:
        """The conversations as token ids; with ``prompt``, up to the assistant's next answer."""
        cut = [self._cut(messages, prompt) for messages in conversations]
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

    def _cut(self, messages: Messages, prompt: bool) -> list[tuple[str, bool, bool]]:
        """The rendered text in pieces: text, whether the assistant's, whether control."""
        everything = "".join(value for message in messages for value in message.values())
        mark = next((char for char in _PRIVATE if char not in everything), None)
        if mark is None:
            raise InputError("a message has every character of Unicode's private use area")
        text, spans = self._render([self._marked(message, mark) for message in messages], prompt)
        pieces = []
        places = {0, len(text)} | {place for span in spans for place in span}
        controls = {match.span() for match in self._control.finditer(text)}
        places |= {place for span in controls for place in span}
        ahead = sorted(spans, reverse=True)
        for start, end in itertools.pairwise(sorted(places)):
            while ahead and ahead[-1][1] <= start:
                ahead.pop()
            is_assistant = bool(ahead) and ahead[-1][0] <= start
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
        import jinja2
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            texts, spans = render_jinja_template(
                [messages],
                chat_template=self.template,
                return_assistant_tokens_mask=True,
                add_generation_prompt=prompt,
                **self.tokenizer.special_tokens_map,
            )
        except jinja2.TemplateError as error:
            raise InputError(f"the chat template cannot be rendered: {error}") from error
        return texts[0], spans[0]

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
