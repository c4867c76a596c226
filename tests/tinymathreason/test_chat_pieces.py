"""Conversations of tokenizers that put a space before a text, as SentencePiece's in Llama 2 do."""

import functools
import itertools
import json

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from tests.support.checkpoints import sample
from tests.tinymathreason.test_chat import TURNS, conversations
from tinymathreason.chat import Chat, TemplateError
from tinymathreason.chatml import TEMPLATE, conversation

NAMES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
SPECIAL = list(NAMES.values())
SPACE = "\u2581"
STYLES = ["first", "always", "normalizer"]
TURN = """{% for m in messages %}
{% if m.role != 'assistant' %}
{{ '<|' + m.role + '|>\n' + m.content + eos_token }}
{% else %}
{{ '<|assistant|>\n' }}<SAID>{{ m.content + eos_token }}<END>
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
TINY = TURN.replace("<SAID>", "").replace("<END>", "")
"""As TinyLlama's: a role is plain text, and </s> ends every turn."""
BLOCKS = TURN.replace("<SAID>", "{% generation %}").replace("<END>", "{% endgeneration %}\n")
LLAMA = """{% for m in messages %}{% if m.role == 'assistant' %}
{{- ' ' + m.content + ' ' + eos_token }}
{%- else %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}"""
"""As Llama 2's: an answer begins with the space that follows the prompt."""
texts = st.lists(
    st.sampled_from(["</s", "s>", "<", "<|user|>", "[/INST]", " ", "\n", "x", "42", "<0x0A>"])
    | st.text(st.characters(exclude_characters=SPACE, exclude_categories=["Cs"]), max_size=5),
    max_size=6,
).map("".join)
plain = texts.filter(lambda text: not any(name in text for name in SPECIAL))


@functools.cache
def tokenizer(style: str):
    """A BPE with bytes to fall back on; ``style`` is how it puts a space before a text."""
    from transformers import PreTrainedTokenizerFast

    made = tokenizers.Tokenizer(models.BPE(byte_fallback=True))
    if style == "normalizer":
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
        )
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=style)
    made.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=SPECIAL,
        initial_alphabet=[SPACE, *"abcdefghijklmnopqrstuvwxyz0123456789"],
        show_progress=False,
    )
    lines = [line for text in sample()[:100] for line in text.splitlines()]
    made.train_from_iterator(lines, trainer)
    state = tokenizers.Tokenizer.from_str(with_bytes(made.to_str()))
    return PreTrainedTokenizerFast(tokenizer_object=state, **NAMES)


def with_bytes(text: str) -> str:
    """A tokenizer.json with an entry for every byte, which no special token is."""
    state = json.loads(text)
    vocabulary = state["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    return json.dumps(state)


@functools.cache
def chat(style: str, template: str) -> Chat:
    return Chat(tokenizer(style), template)


def marked(encoded, style: str) -> list[str]:
    pairs = zip(encoded.ids, encoded.assistant_mask, strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1])
    return [tokenizer(style).decode([i for i, _ in run]) for said, run in runs if said]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("template", [TINY, BLOCKS, LLAMA], ids=["tiny", "blocks", "llama"])
@settings(max_examples=25)
@given(messages=conversations(plain))
def test_conversations_are_as_transformers_has_them(style, template, messages) -> None:
    ours = chat(style, template).encode([messages])[0]
    theirs = tokenizer(style).apply_chat_template(messages, chat_template=template)
    assert ours.ids == theirs["input_ids"]
    said = [m["content"] for m in messages if m["role"] == "assistant"]
    form = " {} </s>" if template == LLAMA else "{}</s>"
    assert marked(ours, style) == [form.format(text) for text in said]
    assert [i for i in ours.labels if i == 2] == [2] * len(said)
    turns = [number for number, m in enumerate(messages) if m["role"] == "assistant"]
    prompts = chat(style, template).encode([messages[:number] for number in turns], prompt=True)
    for prompt in prompts:
        assert ours.ids[: len(prompt.ids)] == prompt.ids
        assert ours.assistant_mask[len(prompt.ids)]
        assert not ours.assistant_mask[len(prompt.ids) - 1]
    last = chat(style, template).encode([messages], skipped=[len(turns) - 1])[0]
    assert (last.ids, marked(last, style)) == (ours.ids, marked(ours, style)[-1:])


@pytest.mark.parametrize("style", STYLES)
@given(messages=conversations(texts | st.sampled_from(SPECIAL)))
@settings(max_examples=25)
def test_no_text_becomes_a_control_token(style, messages) -> None:
    if any(name in message["content"] for message in messages for name in SPECIAL):
        with pytest.raises(TemplateError, match="a message names a control token"):
            chat(style, TINY).encode([messages])
    else:
        ids = chat(style, TINY).encode([messages])[0].ids
        assert [i for i in ids if i < len(SPECIAL)] == [2] * len(messages)


def test_nor_does_what_the_tokenizer_changes_a_text_to() -> None:
    from transformers import PreTrainedTokenizerFast

    backend = tokenizers.Tokenizer.from_str(tokenizer("first").backend_tokenizer.to_str())
    backend.normalizer = normalizers.NFKC()
    backend.add_special_tokens([AddedToken("<end>", normalized=True)])
    other = Chat(PreTrainedTokenizerFast(tokenizer_object=backend, **NAMES), TINY)
    other.encode([conversation("2 + 3?", "5 <en")])
    with pytest.raises(TemplateError, match="makes a control token of a message's text"):
        other.encode([conversation("2 + 3?", "5 \uff1cend\uff1e")])


@pytest.mark.parametrize("style", ["first", "always"])
def test_a_token_across_the_beginning_of_an_answer_is_refused(style) -> None:
    joined = LLAMA.replace("[/INST]", "[/INST] ").replace("' ' + m.content", "m.content")
    with pytest.raises(TemplateError, match="joins the beginning or the end of an answer"):
        Chat(tokenizer(style), joined)


def test_a_prompt_that_no_conversation_begins_with_is_refused() -> None:
    other = BLOCKS.replace("{{ '<|assistant|>' }}", "{{ '<|assistant|>: ' }}")
    with pytest.raises(TemplateError, match="does not begin with the tokens of its prompt"):
        Chat(tokenizer("first"), other)


def test_the_projects_template_with_new_control_tokens() -> None:
    from transformers import PreTrainedTokenizerFast

    backend = tokenizers.Tokenizer.from_str(tokenizer("first").backend_tokenizer.to_str())
    names = ["<|im_start|>", "<|im_end|>"]
    backend.add_special_tokens([AddedToken(name, special=True) for name in names])
    other = PreTrainedTokenizerFast(tokenizer_object=backend, **NAMES)
    messages = [dict(TURNS[0], content="2 + 3?"), *TURNS[1:]]
    encoded = Chat(other, TEMPLATE.read_text()).encode([messages])[0]
    theirs = other.apply_chat_template(
        messages,
        chat_template=TEMPLATE.read_text(),
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    assert encoded.ids == theirs["input_ids"]
    assert encoded.assistant_mask == [bool(one) for one in theirs["assistant_masks"]]
