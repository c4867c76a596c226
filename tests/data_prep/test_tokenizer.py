"""Any text round-trips, digits are single tokens, special tokens in a text are plain text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep import tokenizer
from tests.support.checkpoints import sample
from tinymathreason.chatml import EOS, PAD, SPECIAL_TOKENS
from tinymathreason.cli import InputError

VOCAB = 320


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    tokenizer.save(tokenizer.train(sample(), VOCAB), path)
    return path


def encode(folder, text: str) -> list[int]:
    return tokenizer.load(folder).encode(text, add_special_tokens=False).ids


@given(st.text() | st.lists(st.sampled_from([*SPECIAL_TOKENS, " ", "12", "a\n"])).map("".join))
def test_any_text_round_trips(folder, text: str) -> None:
    loaded = tokenizer.load(folder)
    ids = loaded.encode(text, add_special_tokens=False).ids
    assert loaded.decode(ids, skip_special_tokens=False) == text
    assert all(i >= len(SPECIAL_TOKENS) for i in ids), "a document must not hold control tokens"


PIECES = st.sampled_from(
    [*SPECIAL_TOKENS, " ", "\n\n", "12", "don't", "\u00e9", "e\u0301", "\U0001f600", "\t"]
)
TEXTS = st.lists(st.text() | st.lists(PIECES).map("".join), max_size=8)


@pytest.fixture(scope="module")
def encoder(folder):
    return tokenizer.Encoder(folder)


@given(TEXTS)
def test_the_encoder_of_many_texts_gives_the_same_ids(folder, encoder, texts: list[str]) -> None:
    slow = tokenizer.load(folder)
    expected = [slow.encode(text, add_special_tokens=False).ids for text in texts]
    assert [ids.tolist() for ids in encoder(texts)] == expected


@given(st.lists(st.binary(), min_size=1))
def test_any_bytes_round_trip(encoder, documents: list[bytes]) -> None:
    for document, ids in zip(documents, encoder(documents), strict=True):
        assert encoder.decode(ids) == document


@given(st.text(alphabet="0123456789", min_size=1))
def test_digits_are_single_tokens(folder, digits: str) -> None:
    assert len(encode(folder, digits)) == len(digits)


def test_autotokenizer_agrees(folder) -> None:
    from transformers import AutoTokenizer

    auto = AutoTokenizer.from_pretrained(folder)
    assert len(auto) == VOCAB
    assert (auto.pad_token, auto.eos_token, auto.bos_token) == (PAD, EOS, None)
    assert auto.pad_token_id == 0, "Grain fills packed rows with zeros"
    assert auto.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(len(SPECIAL_TOKENS)))
    for text in sample()[:50]:
        assert auto(text)["input_ids"] == encode(folder, text)
        assert auto.decode(encode(folder, text)) == text


def test_training_is_deterministic(folder) -> None:
    again = tokenizer.train(sample(), VOCAB)
    assert json.loads(again.to_str()) == json.loads((folder / "tokenizer.json").read_text())


def test_too_little_text_is_an_error() -> None:
    with pytest.raises(InputError, match="yield only"):
        tokenizer.train(["abc"], 5000)


def test_load_refuses_what_is_no_tokenizer(tmp_path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        tokenizer.load(tmp_path)
    for text in ("{}", "[]", '{"model": {"vocab": []}, "added_tokens": [1]}', "{"):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(InputError, match=r"tokenizer\.json"):
            tokenizer.load(tmp_path)


def test_settings_of_someones_last_batch_do_not_cut_documents(folder, tmp_path) -> None:
    own = tokenizer.load(folder)
    text = sample()[0]
    other = tokenizer.load(folder)
    other.enable_truncation(3)
    other.enable_padding(length=1000)
    other.save(str(tmp_path / "tokenizer.json"))
    assert encode(tmp_path, text) == own.encode(text, add_special_tokens=False).ids


def test_a_copy_has_the_same_bytes(folder, tmp_path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    tokenizer.save(tokenizer.load(folder), source)
    for name in ("chat_template.jinja", "generation_config.json", "special_tokens_map.json"):
        (source / name).write_text("{}")
    (source / "model.safetensors").write_text("weights")
    copy.mkdir()
    tokenizer.copy(source, copy)
    copied = {path.name: path.read_bytes() for path in copy.iterdir()}
    expected = {path.name: path.read_bytes() for path in source.iterdir()}
    del expected["model.safetensors"]
    assert copied == expected
