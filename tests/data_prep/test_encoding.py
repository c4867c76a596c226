"""Documents begin and end as the tokenizer's model expects, and get the tokenizer's own ids."""

from pathlib import Path

import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource

from data_prep import encoding, tokenizer
from data_prep.build import build
from data_prep.recipe import Recipe
from data_prep.stages.records import decode
from tests.support.builds import documents, write_jsonl, write_recipe
from tests.support.open_tokenizer import CHAT, make
from tinymathreason.cli import InputError
from tinymathreason.config import load
from tinymathreason.records.mixture import Mixture


def found(folder: Path, name: str | None = None) -> tuple[list[str], str]:
    """What begins and what ends a document, as tokens."""
    loaded = tokenizer.load(folder)
    result = encoding.find(folder, name, loaded)
    return [loaded.id_to_token(k) for k in result["begin"]], loaded.id_to_token(result["end"])


LLAMA3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]


@pytest.mark.parametrize(
    ("special", "config", "begin", "end"),
    [
        # SmolLM2 and Qwen 2.5, base and chat.
        (["<|endoftext|>", *CHAT], {"eos_token": "<|endoftext|>"}, [], "<|endoftext|>"),
        (["<|endoftext|>", *CHAT], {"eos_token": "<|im_end|>"}, [], "<|endoftext|>"),
        # Llama 3 has its beginning in the post-processor, Llama 2 a key for it.
        (LLAMA3, {"eos_token": "<|eot_id|>", "post": LLAMA3[0]}, LLAMA3[:1], LLAMA3[1]),
        (
            ["<unk>", "<s>", "</s>"],
            {
                "eos_token": {"content": "</s>", "lstrip": False},
                "bos_token": {"content": "<s>", "lstrip": False},
                "add_bos_token": True,
            },
            ["<s>"],
            "</s>",
        ),
        # The key is obeyed where it differs from the post-processor, as transformers 5 does.
        (
            ["<s>", "</s>"],
            {"eos_token": "</s>", "bos_token": "<s>", "add_bos_token": False, "post": "<s>"},
            [],
            "</s>",
        ),
        (["<end>"], {"eos_token": "<end>"}, [], "<end>"),
    ],
)
def test_what_begins_and_ends_a_document(tmp_path, special, config, begin, end) -> None:
    folder = make(tmp_path / "tokenizer", special, dict(config))
    assert found(folder) == (begin, end)


def test_the_end_can_be_named_and_is_read_from_the_model_where_the_tokenizer_has_none(tmp_path):
    folder = make(tmp_path / "a", ["<|endoftext|>", "</s>", "<end>"], {"eos_token": "<end>"})
    with pytest.raises(InputError, match=r"name one with tokenizer\.end_of_text"):
        found(folder)
    assert found(folder, "<end>") == ([], "<end>")
    with pytest.raises(InputError, match=r"tokenizer\.end_of_text: 'e' is not a special token"):
        found(folder, "e")
    folder = make(tmp_path / "b", ["<pad>", "<end>"], {})
    with pytest.raises(InputError, match="could end a document"):
        found(folder)
    (folder / "config.json").write_text('{"eos_token_id": 1}')
    assert found(folder) == ([], "<end>")
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 1]}')
    assert found(folder) == ([], "<pad>")


@pytest.mark.parametrize(
    ("style", "library", "reason"),
    [
        ("pieces", "gigatoken", ""),
        ("lower", "tokenizers", "gigatoken does not support it"),
    ],
)
def test_a_mixture_has_the_ids_of_the_tokenizer_itself(tmp_path, style, library, reason) -> None:
    special = ["<|endoftext|>", *CHAT]
    config = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "post": "<|im_start|>"}
    folder = make(tmp_path / "open", special, config, style)
    texts = [
        *documents(0, 60),
        *(f"{k} is <|im_end|> and <|endoftext|> \u00e9." for k in range(60)),
    ]
    write_jsonl(tmp_path / "a.jsonl", texts)
    sources = {"a": {"format": "jsonl", "path": str(tmp_path / "a.jsonl"), "weight": 1}}
    recipe = write_recipe(tmp_path, sources, tokenizer={"path": str(folder)}, near_duplicates=False)
    overrides = [f"output_dir={tmp_path / 'mixture'}", "executor.workers=1"]
    manifest = build(load(Recipe, recipe, overrides))
    assert isinstance(manifest, Mixture)
    assert manifest.encoding is not None
    assert manifest.encoding.library == library
    assert reason in manifest.encoding.reason
    loaded = tokenizer.load(folder)
    begin, end = (loaded.token_to_id(token) for token in ("<|im_start|>", "<|endoftext|>"))
    expected = {(begin, *loaded.encode(text, add_special_tokens=False).ids, end) for text in texts}
    written = {
        tuple(decode(record).tolist())
        for file in (tmp_path / "mixture" / "a").glob("*.array_record")
        for record in ArrayRecordDataSource(str(file))
    }
    assert written == expected
    control = {loaded.token_to_id(token) for token in special}
    assert all(not control & set(ids[1:-1]) for ids in written)
    assert manifest.vocab_size == max(loaded.get_vocab().values()) + 1


def test_other_ids_are_noticed(tmp_path, monkeypatch) -> None:
    folder = make(tmp_path / "open", ["<|endoftext|>"], {"eos_token": "<|endoftext|>"})
    before = encoding.find(folder, None, tokenizer.load(folder))
    assert encoding.proven(folder, before, ["12 + 30"])["library"] == "gigatoken"
    correct = encoding.Encoder.__call__

    def wrong(self, texts):
        for text, ids in zip(texts, correct(self, texts), strict=True):
            yield ids[:-1] if text == "12 + 30" else ids

    monkeypatch.setattr(encoding.Encoder, "__call__", wrong)
    after = encoding.proven(folder, before, ["12 + 30"])
    assert after["library"] == "tokenizers"
    assert "other ids in 1 of" in after["reason"]
    assert "; the tokenizers library encodes them, since gigatoken gives other ids" in (
        encoding.summary(after, tokenizer.load(folder))
    )


def test_end_of_text_needs_a_tokenizer(tmp_path) -> None:
    sources = {"a": {"format": "jsonl", "path": "x", "weight": 1}}
    tokens = {"train": {"vocab_size": 320}, "end_of_text": "</s>"}
    with pytest.raises(InputError, match="end_of_text needs path"):
        load(Recipe, write_recipe(tmp_path, sources, tokenizer=tokens))
