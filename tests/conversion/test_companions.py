"""Any model's tokenizer, templates and settings go to MaxText and back to the byte."""

import dataclasses
import itertools
import json
import shutil

import pytest

from conversion import companions, to_hf, to_maxtext
from conversion.architecture import Architecture
from conversion.checkpoint import Checkpoint
from conversion.verify import verify
from pretrain.overlay import load as overlay_of
from tests.support.checkpoints import (
    FAMILIES,
    SIZES,
    model_bytes,
    overlay,
    random_arrays,
    save,
    save_model,
    save_other_tokenizer,
    save_tokenizer,
)
from tinymathreason import vocabulary
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json

pytestmark = [pytest.mark.xdist_group("maxtext"), pytest.mark.filterwarnings("ignore")]

TIED = dataclasses.replace(SIZES, tied=True, rope_theta=1e5)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Tokenizers of another's making: fast/ and pieces/."""
    home = tmp_path_factory.mktemp("tokenizers")
    save_other_tokenizer(home / "fast", SIZES.vocab)
    save_other_tokenizer(home / "pieces", SIZES.vocab, pieces=True)
    return home


def there_and_back(home, model, *flags: str):
    """The folder that a model comes back to; ``--scan-layers=`` is for the way there."""
    scan = [flag for flag in flags if flag.startswith("--scan-layers")]
    flags = tuple(flag for flag in flags if flag not in scan)
    to_maxtext.main(["--model", str(model), "--output", str(home / "0"), *scan])
    to_hf.main(
        ["--checkpoint", str(home / "0"), "--config", str(home / "0" / "overlay.yml"),
         "--tokenizer", str(home / "0" / "tokenizer"), "--output", str(home / "again"), *flags]
    )  # fmt: skip
    return home / "again"


@pytest.mark.parametrize("kind", ["fast", "pieces"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_byte_comes_back(tokenizers, tmp_path, capsys, kind: str, dtype: str) -> None:
    shutil.copytree(tokenizers / kind, tmp_path / "model")
    save_model(tmp_path / "model", TIED, dtype)
    # As its maker formatted it, with keys that nobody here knows.
    config = read_json(tmp_path / "model" / "config.json") | {"pretraining_tp": 1, "_name": "x"}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    again = there_and_back(tmp_path, tmp_path / "model", "--skip-parity")
    assert model_bytes(again) == model_bytes(tmp_path / "model")
    widened = f"weights in {dtype} widened to float32" in capsys.readouterr().out
    assert widened == (dtype != "float32")


@pytest.mark.processor
@pytest.mark.parametrize(("kind", "name"), list(zip(itertools.cycle(["fast", "pieces"]), FAMILIES)))
def test_every_family_is_proven_and_comes_back(tokenizers, tmp_path, kind: str, name: str) -> None:
    """In float32, of which no product with a root of head_dim holds every value."""
    shutil.copytree(tokenizers / kind, tmp_path / "model")
    sizes, scanned = FAMILIES[name]
    save_model(tmp_path / "model", sizes)
    flag = "--scan-layers=true" if scanned else "--scan-layers=false"
    again = there_and_back(tmp_path, tmp_path / "model", flag)
    assert read_json(again / "conversion.json")["parity"]["argmax_agreement"] == 1
    assert model_bytes(again) == model_bytes(tmp_path / "model")
    assert Architecture.from_maxtext(overlay_of(tmp_path / "0" / "overlay.yml")) == sizes


@pytest.mark.processor
def test_a_tokenizer_may_be_larger_than_its_model(tokenizers, tmp_path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copytree(tokenizers / "pieces", tmp_path / "model")
    sizes = dataclasses.replace(TIED, vocab=SIZES.vocab - 20)
    save_model(tmp_path / "model", sizes, "bfloat16", max_position_embeddings=8192)
    again = there_and_back(tmp_path, tmp_path / "model", "--skip-parity")
    assert read_json(again / "conversion.json")["dtype"] == "bfloat16"
    step, config = Checkpoint(tmp_path / "0"), tmp_path / "0" / "overlay.yml"
    assert verify(step, config, tmp_path / "model").argmax_agreement == 1
    before, after = (AutoTokenizer.from_pretrained(f) for f in (tmp_path / "model", again))
    assert before("3 + 4 = 7").input_ids == after("3 + 4 = 7").input_ids
    model = AutoModelForCausalLM.from_pretrained(again)
    assert model.generation_config.eos_token_id == [2]
    assert model.config.pad_token_id == 2


def test_a_training_on_shorter_rows_does_not_shorten_the_model(tokenizers, tmp_path) -> None:
    shutil.copytree(tokenizers / "fast", tmp_path / "model")
    save_model(tmp_path / "model", SIZES, "bfloat16")
    before = read_json(tmp_path / "model" / "config.json")
    for context, length in ((16, SIZES.context), (128, 128)):
        sizes = dataclasses.replace(SIZES, context=context)
        folder = tmp_path / str(context)
        folder.mkdir()
        companions.write(sizes, tmp_path / "model", folder, "float32")
        changes = {"max_position_embeddings": length, "dtype": "float32", "torch_dtype": "float32"}
        assert read_json(folder / "config.json") == before | changes


def test_the_type_of_the_files_is_remembered_and_not_that_of_the_config(tmp_path) -> None:
    save_model(tmp_path / "model", SIZES, "bfloat16", dtype="float32", torch_dtype="float32")
    to_maxtext.main(["--model", str(tmp_path / "model"), "--output", str(tmp_path / "0")])
    assert companions.dtype(tmp_path / "0" / "tokenizer") == "bfloat16"
    assert companions.dtype(tmp_path) == "float32"


@pytest.mark.parametrize("kind", ["fast", "pieces"])
def test_a_tokenizer_without_a_model_gives_the_ids(tokenizers, tmp_path, kind: str) -> None:
    """A checkpoint of another architecture, or from nothing, with a tokenizer from the hub."""
    folder = shutil.copytree(tokenizers / kind, tmp_path / "tokenizer")
    (folder / "generation_config.json").unlink()
    ids = vocabulary.read(folder)
    assert max(ids.values()) == SIZES.vocab - 1
    end = ids["<|im_end|>" if kind == "fast" else "</s>"]
    expected = {"bos_token_id": None, "eos_token_id": end, "pad_token_id": end}
    assert companions.token_ids(folder) == expected
    # A model's own words go first, and a config.json of another model has ids too.
    write_json(folder / "config.json", {"model_type": "gpt2", "bos_token_id": 7, "eos_token_id": 8})
    (folder / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    assert companions.token_ids(folder) == expected | {"bos_token_id": 7, "eos_token_id": [5, 6]}
    (tmp_path / "model").mkdir()
    companions.write(SIZES, folder, tmp_path / "model", "float32")
    config = read_json(tmp_path / "model" / "config.json")
    assert config == SIZES.hf_config([5, 6], end, "float32", 7)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "no end of text: neither generation_config.json nor tokenizer_config.json names one"),
        ({"eos_token": "<end>"}, "eos_token is '<end>', which the tokenizer lacks"),
        ([], r"tokenizer_config\.json: expected a mapping"),
    ],
)
def test_ids_that_cannot_be_known(tokenizers, tmp_path, settings, words: str) -> None:
    shutil.copy(tokenizers / "fast" / "tokenizer.json", tmp_path)
    write_json(tmp_path / "tokenizer_config.json", settings)
    with pytest.raises(InputError, match=words):
        companions.token_ids(tmp_path)


def test_only_this_projects_padding_is_trimmed(tokenizers, tmp_path) -> None:
    padded = dataclasses.replace(SIZES, vocab=384)
    save_tokenizer(SIZES.vocab, tmp_path / "own")
    assert companions.trimmed(padded, tmp_path / "own") == SIZES
    assert companions.trimmed(padded, tokenizers / "fast") == padded
    # Nor does its tokenizer trim the model that the folder describes.
    write_json(tmp_path / "own" / "config.json", padded.hf_config(1, 0, "float32"))
    assert companions.trimmed(padded, tmp_path / "own") == padded
    small = dataclasses.replace(SIZES, vocab=300)
    with pytest.raises(InputError, match="has 320 entries, vocab_size is 300"):
        companions.trimmed(small, tokenizers / "pieces")


def test_an_own_checkpoint_with_a_tokenizer_from_the_hub(tokenizers, tmp_path) -> None:
    (tmp_path / "overlay.yml").write_text(overlay(SIZES))
    save(tmp_path / "7", random_arrays(True), True)
    to_hf.main(
        ["--checkpoint", str(tmp_path / "7"), "--config", str(tmp_path / "overlay.yml"),
         "--tokenizer", str(tokenizers / "fast"), "--output", str(tmp_path / "model"),
         "--skip-parity"]
    )  # fmt: skip
    result = model_bytes(tmp_path / "model")
    for name, content in model_bytes(tokenizers / "fast").items():
        assert result.pop(name) == content
    assert result.keys() == {"config.json", "model.safetensors"}


def test_no_tokenizer(tmp_path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json there, and no tokenizer\.model"):
        companions.trimmed(SIZES, tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"<|endoftext|> 0\n")
    with pytest.raises(InputError, match=r"tokenizer\.model: not a SentencePiece model"):
        companions.trimmed(SIZES, tmp_path)
