"""Encodes conversations by a chat template, with a mask of the tokens that the assistant writes.

The ids are those of transformers' own ``apply_chat_template``, with two intended differences. The
text of a message never becomes a control token, even if it contains the name of one. And the text
is split where the assistant's part begins, as it is when the model answers a prompt.

A template tells the assistant's parts by its generation blocks. Of a template without such blocks
they are found: a part begins where the prompt for it ends, and it ends with the token that ends an
answer. What the template makes of a conversation must show that, or the conversation is refused.

Some tokenizers encode a text differently after another one: SentencePiece's, such as Llama 2's, put
a space before the first word. For these a conversation is encoded as a whole. The text up to a
border of an answer, encoded by itself, must give the first tokens of the whole: then no token lies
across the border, and the prompt is how the conversation begins. A conversation that does not fit,
or whose texts name a control token, is refused.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tinymathreason.chatml import Messages, conversation
from tinymathreason.cli import InputError
from tinymathreason.control_tokens import control_ids, control_pattern

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


@dataclass(frozen=True, slots=True)
class _Rendered:
    """The text of a conversation, with ``mark`` in each name of a control token in a message."""

    text: str
    mark: str
    spans: list[tuple[int, int]]
    """The assistant's parts, where the text is cut."""
    learnt: set[tuple[int, int]]
    """Those that are marked."""


class Chat:
    """A tokenizer with a chat template.

    Raises `InputError` when the template cannot be rendered or puts no control token after an
    answer, when a token lies across the beginning of an answer, or when a control token is a
    single character.
    """

    stop: int
    """Id of the control token that ends an answer."""
    start: int | None
    """Id of the control token that begins the prompt for an answer; None without one."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        import tokenizers

        self.tokenizer = tokenizer
        self.template = template
        self._special = control_ids(tokenizer)
        if any(len(token) < 2 for token in self._special):
            raise InputError(
                "the tokenizer has a control token of one character, which text cannot avoid"
            )
        self._ids = frozenset(self._special.values())
        self._control = control_pattern(self._special)
        self._has_blocks = bool(_BLOCK.search(template))
        self._whole = False
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
            self._whole = True
            self._plain.encode_special_tokens = False
            self._known.clear()
            ids = self.encode([_PROBE])[0].ids
            if ids != expected:
                raise InputError(
                    "the tokenizer does not give a conversation the ids of its own tokenizer.json; "
                    "remove split_special_tokens from tokenizer_config.json"
                )
            prefix = self.encode([question], prompt=True)[0].ids
            if ids[: len(prefix)] != prefix:
                raise TemplateError(
                    "with this tokenizer a conversation does not begin with the tokens of its "
                    "prompt; take another template or a byte-level tokenizer"
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
        does not show the other answers. With a tokenizer whose ids of a text depend on what is
        before it, also for one that names a control token or has a token across a border.
        """
        counts = skipped or [0] * len(conversations)
        pairs = zip(conversations, counts, strict=True)
        rendered = [self._rendered(messages, prompt, count) for messages, count in pairs]
        if self._whole:
            return self._encode_whole(rendered, prompt)
        cut = [self._cut(one) for one in rendered]
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

    def _encode_whole(self, rendered: Sequence[_Rendered], prompt: bool) -> list[Encoded]:
        """The conversations without a cut, for a tokenizer whose ids depend on the text before."""
        self._learn(
            one.text[:place]
            for one in rendered
            for place in (len(one.text), *itertools.chain(*one.learnt))
        )
        encoded = []
        for one in rendered:
            ids = self._known[one.text]
            written = [self._special[name] for name in self._control.findall(one.text)]
            # The unknown token stands for a character, unless it ends answers too.
            control = self._ids - ({self.tokenizer.unk_token_id} - {self.stop})
            if [i for i in ids if i in control] != [i for i in written if i in control]:
                raise TemplateError("the tokenizer makes a control token of a message's text")
            mask = [False] * len(ids)
            for span in one.learnt:
                before, until = (self._known[one.text[:place]] for place in span)
                if ids[: len(before)] == before and ids[: len(until)] == until:
                    mask[len(before) : len(until)] = [True] * (len(until) - len(before))
                elif not prompt:
                    raise TemplateError(
                        "the tokenizer joins the beginning or the end of an answer with the text "
                        "beside it, so the answer would begin otherwise than after its prompt; "
                        "take another template or a byte-level tokenizer"
                    )
            encoded.append(Encoded(ids, mask))
        return encoded

    def _rendered(self, messages: Messages, prompt: bool, skipped: int) -> _Rendered:
        """A conversation as the template renders it, and where its answers are."""
        everything = "".join(value for message in messages for value in message.values())
        mark = next((char for char in _PRIVATE if char not in everything), None)
        if mark is None:
            raise InputError("a message has every character of Unicode's private use area")
        marked = [self._marked(message, mark) for message in messages]
        if self._whole and marked != messages:
            raise TemplateError(
                "a message names a control token, which this tokenizer cannot encode as text"
            )
        text, spans = self._render(marked, prompt)
        if not self._has_blocks:
            spans = list(self._answers(marked, text, prompt, skipped))
        elif skipped and len(spans) != sum(m["role"] == "assistant" for m in messages):
            raise TemplateError("the chat template has not one generation block for each answer")
        learnt = set(spans[skipped:] if self._has_blocks else spans)
        return _Rendered(text, mark, spans, learnt)

    def _cut(self, one: _Rendered) -> list[tuple[str, bool, bool]]:
        """The text in pieces: text, whether the assistant's, whether control."""
        text, mark, spans = one.text, one.mark, one.spans
        pieces = []
        places = {0, len(text)} | {place for span in spans for place in span}
        controls = {match.span() for match in self._control.finditer(text)}
        places |= {place for span in controls for place in span}
        ahead = sorted(spans, reverse=True)
        for start, end in itertools.pairwise(sorted(places)):
            while ahead and ahead[-1][1] <= start:
                ahead.pop()
            is_assistant = bool(ahead) and ahead[-1][0] <= start and ahead[-1] in one.learnt
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
