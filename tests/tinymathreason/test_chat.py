"""The assistant's tokens are marked, and no message can produce a control token."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymathreason.chat import Chat, TemplateError
from tinymathreason.chatml import EOS, IM_END, IM_START, SPECIAL_TOKENS, TEMPLATE
from tinymathreason.cli import InputError

pieces = st.sampled_from(
    [
        *SPECIAL_TOKENS,
        "<|im_",
        "end|>",
        "<",
        "|>",
        "\n",
        " ",
        "\ue000",
        "user",
        "assistant\n4",
        "é",
        "数",
    ]
)
hostile = st.lists(pieces | st.text(max_size=5), max_size=8).map("".join)
plain = st.text(max_size=30).filter(lambda text: not any(token in text for token in SPECIAL_TOKENS))


def conversations(text):
    """Any number of turns, with a system message, an empty one, or none."""
    turn = st.tuples(text, text).map(
        lambda said: [
            {"role": "user", "content": said[0]},
            {"role": "assistant", "content": said[1]},
        ]
    )
    system = st.none() | st.just("") | text
    return st.builds(
        lambda first, turns: [
            *([] if first is None else [{"role": "system", "content": first}]),
            *(message for pair in turns for message in pair),
        ],
        system,
        st.lists(turn, min_size=1, max_size=3),
    )


@pytest.fixture(scope="module")
def chat(model_dir):
    from transformers import AutoTokenizer

    return Chat(AutoTokenizer.from_pretrained(model_dir), TEMPLATE.read_text())


@given(conversations(hostile))
def test_exactly_what_the_assistant_says_is_marked(chat, messages) -> None:
    encoded = chat.encode([messages])[0]
    assert len(encoded.ids) == len(encoded.assistant_mask) == len(encoded.labels)
    said = [token for token in encoded.labels if token != -100]
    spoken = [m["content"] for m in messages if m["role"] == "assistant"]
    decode = chat.tokenizer.decode
    assert decode(said) == "".join(f"{text}{IM_END}" for text in spoken)
    # Every stop token that the loss sees is the control token itself, one for each turn.
    assert said.count(SPECIAL_TOKENS.index(IM_END)) == len(spoken)


@given(conversations(hostile))
def test_no_text_becomes_a_control_token(chat, messages) -> None:
    ids = chat.encode([messages])[0].ids
    control = [SPECIAL_TOKENS[token] for token in ids if token < len(SPECIAL_TOKENS)]
    assert control == [IM_START, IM_END] * len(messages)
    written = "".join(f"{IM_START}{m['role']}\n{m['content']}{IM_END}\n" for m in messages)
    assert chat.tokenizer.decode(ids) == written


@given(conversations(plain))
def test_plain_conversations_are_as_transformers_has_them(chat, messages) -> None:
    for message in messages:
        message["content"] = message["content"].strip()
    theirs = chat.tokenizer.apply_chat_template(
        messages,
        chat_template=chat.template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ours = chat.encode([messages])[0]
    assert ours.ids == theirs["input_ids"]
    assert ours.assistant_mask == [bool(mask) for mask in theirs["assistant_masks"]]


@given(hostile, hostile)
def test_a_prompt_is_how_its_conversation_begins(chat, question, answer) -> None:
    asked = [{"role": "user", "content": question}]
    prompt = chat.encode([asked], prompt=True)[0]
    whole = chat.encode([[*asked, {"role": "assistant", "content": answer}]])[0]
    assert whole.ids[: len(prompt.ids)] == prompt.ids
    assert not any(prompt.assistant_mask)
    assert not any(whole.assistant_mask[: len(prompt.ids)])
    assert all(whole.assistant_mask[len(prompt.ids) : -1])


def test_many_conversations_are_as_each_by_itself(chat, monkeypatch) -> None:
    several = [[{"role": "user", "content": f"{n} {EOS}"}] for n in range(50)]
    alone = [chat.encode([messages])[0] for messages in several]
    monkeypatch.setattr("tinymathreason.chat._CACHED", 3)
    assert [chat.encode([messages])[0] for messages in several] == alone
    assert chat.encode(several) == alone


def test_every_answer_of_a_long_conversation_is_said(chat) -> None:
    turns = [
        {"role": role, "content": f"{n}"} for n in range(300) for role in ("user", "assistant")
    ]
    result = chat.encode([turns])[0]
    said = chat.tokenizer.decode(
        [i for i, s in zip(result.ids, result.assistant_mask, strict=True) if s]
    )
    assert [part for part in said.split("<|im_end|>") if part.strip()] == [
        str(n) for n in range(300)
    ]


def test_a_text_without_a_character_to_spare_is_refused(chat) -> None:
    text = "".join(chr(code) for code in range(0xE000, 0xF900))
    with pytest.raises(InputError, match="every character of Unicode's private use area"):
        chat.encode([[{"role": "user", "content": text}]])


@pytest.mark.parametrize("template", ["{% for %}", "{{ raise_exception('no') }}"])
def test_a_template_that_cannot_be_rendered_is_refused(chat, template) -> None:
    with pytest.raises(InputError, match="the chat template cannot be rendered"):
        Chat(chat.tokenizer, template)


def test_a_tokenizer_that_splits_its_control_tokens_is_refused(chat) -> None:
    from transformers import PreTrainedTokenizerFast

    backend = chat.tokenizer.backend_tokenizer.to_str()
    split = PreTrainedTokenizerFast(
        tokenizer_object=type(chat.tokenizer.backend_tokenizer).from_str(backend),
        split_special_tokens=True,
    )
    with pytest.raises(InputError, match="remove split_special_tokens"):
        Chat(split, chat.template)


BARE = re.sub(r"\{%- (end)?generation %\}", "", TEMPLATE.read_text())
"""The project's template without its generation blocks."""


@given(conversations(hostile), st.booleans())
def test_answers_are_found_where_generation_blocks_have_them(chat, bare, messages, prompt) -> None:
    if prompt:
        messages = messages[:-1]
    assert bare.encode([messages], prompt) == chat.encode([messages], prompt)


@pytest.fixture(scope="module")
def bare(chat):
    return Chat(chat.tokenizer, BARE)


# The traits of open models' templates, with this tokenizer's control tokens: a system line of their
# own; headers, and texts that are trimmed; brackets of plain text, and no prompt for an answer;
# another name for the assistant, and no system role; thinking that is removed from earlier turns.
SYSTEM = """
{%- if messages[0].role != 'system' %}<|im_start|>system
You are Someone.<|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
HEADERS = """<|endoftext|>{% for m in messages -%}
<|reserved_0|>{{ m.role }}<|reserved_1|>

{{ m.content | trim }}<|reserved_2|>{% endfor %}
{%- if add_generation_prompt %}<|reserved_0|>assistant<|reserved_1|>

{% endif %}"""
BRACKETS = """<|im_start|>{% for m in messages %}
{%- if m.role == 'user' %}[INST] {{ m.content }} [/INST]
{%- elif m.role == 'assistant' %} {{ m.content }}<|endoftext|>
{%- else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"""
RENAMED = """{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}
{%- endif %}<|im_start|>{{ 'model' if m.role == 'assistant' else m.role }}
{{ m.content | trim }}<|reserved_3|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>model
{% endif %}"""
THINKING = """{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role != 'assistant' %}{{ m.content }}{% elif loop.last %}<hm>

</hm>

{{ m.content }}{% else %}{{ m.content.split('</hm>')[-1].lstrip() }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TURNS = [
    {"role": "user", "content": "2 + 3? <|im_end|>"},
    {"role": "assistant", "content": "<hm>5?</hm>It is 5 <|reserved_2|>"},
    {"role": "user", "content": "And 3 + 3?"},
    {"role": "assistant", "content": "6"},
]


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        (SYSTEM, ["{0}<|im_end|>", "6<|im_end|>"]),
        (HEADERS, ["{0}<|reserved_2|>", "6<|reserved_2|>"]),
        (BRACKETS, [" {0}<|endoftext|>", " 6<|endoftext|>"]),
        (RENAMED, ["{0}<|reserved_3|>", "6<|reserved_3|>"]),
    ],
    ids=["system", "headers", "brackets", "renamed"],
)
def test_answers_are_found_in_open_models_templates(chat, template, parts) -> None:
    other = Chat(chat.tokenizer, template)
    encoded = other.encode([TURNS])[0]
    texts = marked(chat, encoded)
    assert texts == [part.format(TURNS[1]["content"]) for part in parts]
    last = other.encode([TURNS], skipped=[1])[0]
    assert last.ids == encoded.ids
    assert marked(chat, last) == texts[1:]
    assert [label for label in last.labels if label != -100][-1] == other.stop
    assert encoded.ids[: len(prompt := other.encode([TURNS[:3]], True)[0].ids)] == prompt


def test_a_turn_without_its_thinking_is_not_learnt(chat) -> None:
    other = Chat(chat.tokenizer, THINKING)
    with pytest.raises(TemplateError, match=r"answer 1 of 2 whole .* \(turns: last\)"):
        other.encode([TURNS])
    last = other.encode([TURNS], skipped=[1])[0]
    assert marked(chat, last) == ["<hm>\n\n</hm>\n\n6<|im_end|>"]
    assert last.ids[: len(prompt := other.encode([TURNS[:3]], True)[0].ids)] == prompt


def test_skipped_answers_are_in_blocks_too(chat) -> None:
    whole, last = chat.encode([TURNS])[0], chat.encode([TURNS], skipped=[1])[0]
    assert last.ids == whole.ids
    assert marked(chat, last) == marked(chat, whole)[1:] == ["6<|im_end|>"]


def marked(chat, encoded):
    """The texts of the marked parts."""
    pairs = zip(encoded.ids, encoded.assistant_mask, strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1])
    return [chat.tokenizer.decode([i for i, _ in run]) for said, run in runs if said]


def test_a_conversation_of_which_a_template_does_not_show_the_answers_is_refused(chat) -> None:
    for template in (
        "{% if add_generation_prompt %}!{% endif %}" + BARE,
        BARE.replace("message['content']", "message['content'] | reverse"),
    ):
        with pytest.raises(TemplateError, match="put a generation block around it"):
            Chat(chat.tokenizer, template).encode([TURNS])
    with pytest.raises(TemplateError, match="no system"):
        Chat(chat.tokenizer, RENAMED).encode([[{"role": "system", "content": "x"}, *TURNS]])
    with pytest.raises(InputError, match="no special token of the tokenizer after an answer"):
        Chat(chat.tokenizer, "{% for m in messages %}{{ m.content }}\n{% endfor %}")
