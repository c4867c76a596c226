"""A training goes on from an open model: its weights, its tokenizer, its first loss."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from conversion.to_maxtext import hub_name
from conversion.to_maxtext import main as to_maxtext
from pretrain import overlay, padding, run, start
from tests.support import records
from tests.support.checkpoints import SIZES, random_arrays
from tests.support.checkpoints import save as save_checkpoint
from tests.support.open_tokenizer import CHAT, make
from tinymathreason.cli import InputError
from tinymathreason.files import write_json
from tinymathreason.provenance import model_hash
from tinymathreason.records.mixture import EncodingRecord
from tinymathreason.vocabulary import check_size

NAME = "ORG/open@0123abc"


@pytest.fixture(scope="module")
def home(model_dir, tmp_path_factory) -> Path:
    """The checkpoint 0/ of a converted model, and run.yml, which begins with it."""
    path = tmp_path_factory.mktemp("start")
    to_maxtext(["--model", str(model_dir), "--output", str(path / "0"), "--name", NAME])
    keys = {
        "base_config": "0/overlay.yml",
        "load_parameters_path": str(path / "0" / "items"),
        "tokenizer_path": str(path / "0" / "tokenizer"),
        "max_target_length": 32,
    }
    (path / "run.yml").write_text(yaml.safe_dump(keys))
    return path


def load(home: Path, *overrides: str) -> dict:
    return overlay.load(home / "run.yml", overrides)


def test_weights_that_fit_are_accepted_and_named(home, model_dir, tmp_path) -> None:
    config = load(home)
    start.check(config)
    # MaxText accepts the step's folder as well.
    start.check({**config, "load_parameters_path": f"{home / '0'}/"})
    found = start.record(config)
    assert found is not None
    assert (found.path, found.model) == (str(home / "0" / "items"), NAME)
    assert found.model_folder == str(model_dir)
    assert found.model_sha256 == model_hash(model_dir)
    # The name is recorded at the first start alone: later ones go on from checkpoints of the run.
    config |= {"base_output_directory": str(tmp_path), "run_name": "run"}
    run.StartWriter(config, 1, 1, "cpu", found).end("preempted")
    assert run.starts(config)[0].weights == found
    assert start.record({**config, "load_parameters_path": ""}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("load_parameters_path=/nowhere/items", "load_parameters_path: no weights in /nowhere"),
        ("base_emb_dim=64", "base_emb_dim: is 64, but 48 in the model of load_parameters_path"),
        ("rope_max_timescale=500", "rope_max_timescale: is 500, but 10000"),
        ("normalization_layer_epsilon=1.e-6", "normalization_layer_epsilon: is 1e-06, but 1e-05"),
        ("scan_layers=false", "scan_layers: is False, but True"),
    ],
)
def test_other_keys_than_the_models_are_refused(home, change, message) -> None:
    with pytest.raises(InputError) as error:
        start.check(load(home, change))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        "normalization_layer_epsilon=9.999999747378752e-06",
        # Without effect, as the rotary embedding is not Llama 3's and the head is not tied.
        "rope_use_scale=true",
        "normalize_embedding_logits=true",
        "max_target_length=16",
    ],
)
def test_a_key_that_changes_nothing_is_accepted(home, change: str) -> None:
    start.check(load(home, change))


def test_the_shipped_overlays_are_the_models_own(home) -> None:
    """What to_maxtext writes for SmolLM2-135M, as its record holds it."""
    keys = {
        "base_num_decoder_layers": 30, "base_emb_dim": 576, "base_num_query_heads": 9,
        "base_num_kv_heads": 3, "head_dim": 64, "base_mlp_dim": 1536, "vocab_size": 49_152,
        "max_target_length": 8192, "logits_via_embedding": True, "rope_type": "default",
        "rope_use_scale": False, "rope_max_timescale": 100_000,
        "normalization_layer_epsilon": 1e-5, "normalize_embedding_logits": False,
        "scan_layers": True,
    }  # fmt: skip
    for name in ("smollm2_135m", "real_model"):
        config = overlay.load(f"maxtext_configs/{name}.yml")
        assert run.parameters(config) == 134_515_008
        for key, value in keys.items():
            assert not start._counts(key, config) or config[key] == value, (name, key)


@pytest.mark.parametrize("scanned", [True, False])
def test_weights_of_an_earlier_training_are_counted(home, tmp_path, scanned: bool) -> None:
    arrays = random_arrays(scanned)
    save_checkpoint(tmp_path / "5", arrays, scanned)
    words = [f"load_parameters_path={tmp_path / '5' / 'items'}", f"scan_layers={scanned}".lower()]
    config = load(home, *words)
    start.check(config)
    found = start.record(config)
    assert found is not None
    assert (found.model, found.model_folder, found.model_sha256) == (None, None, None)
    with pytest.raises(InputError, match=r"scan_layers: is .* are stored for"):
        start.check({**config, "scan_layers": not scanned})
    with pytest.raises(InputError, match=r"5 has [\d,]+ parameters, the configuration has"):
        start.check({**config, "base_mlp_dim": 96})


def test_another_tokenizer_is_refused_and_the_same_one_saved_anew_is_not(home, tmp_path) -> None:
    theirs = home / "0" / "tokenizer" / "tokenizer.json"
    content = json.loads(theirs.read_text())
    shutil.copytree(theirs.parent, tmp_path / "tokenizer")
    config = load(home, f"tokenizer_path={tmp_path / 'tokenizer'}")
    content["model"]["merges"] = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in content["model"]["merges"]
    ]
    content["post_processor"] = None
    write_json(tmp_path / "tokenizer" / "tokenizer.json", content)
    start.check(config)
    content["model"]["merges"].reverse()
    write_json(tmp_path / "tokenizer" / "tokenizer.json", content)
    with pytest.raises(InputError, match=r"gives other ids than .*0/tokenizer/tokenizer\.json"):
        start.check(config)


def test_a_model_may_have_more_rows_than_its_tokenizer_entries(home) -> None:
    folder = home / "0" / "tokenizer"
    check_size(folder, SIZES.vocab)
    check_size(folder, SIZES.vocab + 64, may_be_smaller=True)
    with pytest.raises(InputError, match="has 320 entries, vocab_size is 384"):
        check_size(folder, SIZES.vocab + 64)
    with pytest.raises(InputError, match="has 320 entries, vocab_size is 319"):
        check_size(folder, SIZES.vocab - 1, may_be_smaller=True)


def test_the_name_is_read_from_the_hubs_cache(tmp_path) -> None:
    place = tmp_path / "models--ORG--Small-1B" / "snapshots" / "0123abcd"
    place.mkdir(parents=True)
    (tmp_path / "link").symlink_to(place)
    assert hub_name(tmp_path / "link") == "ORG/Small-1B@0123abcd"
    assert hub_name(tmp_path) == tmp_path.name


@pytest.mark.parametrize(
    ("special", "pad", "used", "chosen"),
    [
        # The tokenizer's own, which no document holds.
        (["<|endoftext|>", *CHAT], "<|im_end|>", [0], None),
        # It ends documents; there is none; it is an ordinary token.
        (["<|endoftext|>", *CHAT], "<|endoftext|>", [0], "<|im_start|>"),
        (
            ["<|endoftext|>", *CHAT],
            {"__type": "AddedToken", "content": "<|im_end|>"},
            [1, 2],
            "<|endoftext|>",
        ),
        (["<s>", "</s>", "<unk>"], None, [0, 1], "<unk>"),
        (["<|endoftext|>", *CHAT], "a", [0], "<|im_start|>"),
    ],
)
def test_the_padding_token_is_in_no_document(tmp_path, special, pad, used, chosen) -> None:
    folder = make(tmp_path / "tokenizer", special, {"pad_token": pad} if pad else {})
    write_manifest(tmp_path, used)
    config = {
        "grain_train_mixture_config_path": str(tmp_path / "mixture.json"),
        "tokenizer_path": str(folder),
    }
    (tmp_path / "given").mkdir()
    found = padding.arguments(config, tmp_path / "given")
    if chosen is None:
        assert found == []
        return
    given = tmp_path / "given" / "tokenizer"
    assert found == [f'tokenizer_path="{given}"']
    from transformers import AutoTokenizer

    auto = AutoTokenizer.from_pretrained(given)
    assert auto.pad_token == chosen
    assert auto.get_vocab() == AutoTokenizer.from_pretrained(folder).get_vocab()


def test_a_tokenizer_without_a_token_for_padding_is_refused(tmp_path) -> None:
    folder = make(tmp_path / "tokenizer", ["<|endoftext|>"], {})
    write_manifest(tmp_path, [0])
    config = {
        "grain_train_mixture_config_path": str(tmp_path / "mixture.json"),
        "tokenizer_path": str(folder),
    }
    with pytest.raises(InputError, match=r"every special token of .* begins or ends documents"):
        padding.arguments(config, tmp_path)
    write_manifest(tmp_path, None)  # a mixture of an earlier day
    assert padding.arguments(config, tmp_path) == []
    assert padding.arguments({**config, "grain_train_mixture_config_path": ""}, tmp_path) == []


def write_manifest(folder: Path, used: list[int] | None) -> None:
    encoding = None
    if used is not None:
        *begin, end = used
        encoding = EncodingRecord(begin=begin, end=end, library="gigatoken", reason="")
    records.mixture(encoding=encoding).write(folder / "manifest.json")
