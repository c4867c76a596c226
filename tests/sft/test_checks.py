"""A run's wrong arguments or rows are reported before the first step."""

import json
import shutil
from types import SimpleNamespace

import pytest

from sft import checks
from sft.model import check_vocabulary, load_tokenizer
from sft.run import Sft
from tests.support.checkpoints import save_other_tokenizer
from tinymathreason.chat import Chat
from tinymathreason.chatml import EOS, IM_END, TEMPLATE, conversation
from tinymathreason.cli import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def tokenizer(model_dir):
    return load_tokenizer(str(model_dir), TEMPLATE)


@pytest.fixture(scope="module")
def row(tokenizer):
    """Ids and labels of a conversation."""
    chat = Chat(tokenizer, tokenizer.chat_template)
    encoded = chat.encode([conversation("2 + 3?", "5\n#### 5")])[0]
    return encoded.ids, encoded.labels


def test_a_right_row_passes(tokenizer, row) -> None:
    checks.check_conversation(Chat(tokenizer, tokenizer.chat_template), *row)


def without_stop(tokenizer, ids, labels):
    stop = tokenizer.convert_tokens_to_ids(IM_END)
    return ids, [-100 if label == stop else label for label in labels]


def one_stop_of_two(tokenizer, ids, labels):
    return ids * 2, labels + without_stop(tokenizer, ids, labels)[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, ids, labels: (ids, [-100] * len(ids)), "no target"),
        (without_stop, r"would see '5\\n#### 5', not an answer with <\|im_end\|>"),
        (one_stop_of_two, "not an answer with"),
        (lambda t, ids, labels: (ids, ids), r"would see '<\|im_start\|>user"),
        (lambda t, ids, labels: (ids, [*ids[:-1], -100]), r"would see '<\|im_start\|>user"),
        (lambda t, ids, labels: (ids, [-100, *labels[:-1]]), "a label differs from the token"),
    ],
)
def test_a_wrong_row_is_reported(tokenizer, row, change, words) -> None:
    chat = Chat(tokenizer, tokenizer.chat_template)
    with pytest.raises(InputError, match=words):
        checks.check_conversation(chat, *change(tokenizer, *row))


def test_two_beginnings_are_reported(model_dir, row) -> None:
    own = load_tokenizer(str(model_dir), TEMPLATE)
    own.bos_token = EOS
    chat = Chat(own, own.chat_template)
    checks.check_conversation(chat, [own.bos_token_id, *row[0]], [-100, *row[1]])
    with pytest.raises(InputError, match=r"begins with two <\|endoftext\|>"):
        checks.check_conversation(chat, [own.bos_token_id] * 2 + row[0], [-100] * 2 + row[1])


def test_conversations_of_a_batch(row) -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    ids, labels = row
    short = (ids[:7], [-100] * 6 + ids[6:7])
    examples = [dict(zip(("input_ids", "labels"), pair, strict=True)) for pair in (row, short)]
    padded = DataCollatorForLanguageModeling(0)(examples)
    assert list(checks.conversations(padded, 0)) == [row, short]
    joined = [
        {
            "input_ids": ids + short[0],
            "labels": labels + short[1],
            "seq_lengths": [len(ids), 7],
        }
    ]
    packed = DataCollatorForLanguageModeling(0, padding_free=True, pad_to_multiple_of=64)(joined)
    assert list(checks.conversations(packed, 0)) == [row, short]


def test_new_tokens_must_be_learnt() -> None:
    tokenizer = SimpleNamespace(new_tokens=[7], convert_ids_to_tokens=lambda i: IM_END)
    plain = settings(model_name_or_path="m")
    checks.check_new_tokens(plain, tokenizer)
    with pytest.raises(InputError, match=r"use_peft: .* has no <\|im_end\|>, and an adapter"):
        checks.check_new_tokens(settings(model_name_or_path="m", use_peft=True), tokenizer)
    plain.data.HOLDS_OUT = False
    with pytest.raises(InputError, match=r"run sft\.run first"):
        checks.check_new_tokens(plain, tokenizer)
    tokenizer.new_tokens = []
    checks.check_new_tokens(plain, tokenizer)


def test_padding_that_ends_turns_too_is_counted_where_it_ends_one() -> None:
    import torch

    from sft.speed import CountsLater

    trainer = CountsLater()
    trainer.args = SimpleNamespace(include_num_input_tokens_seen="non_padding")
    trainer.processing_class = SimpleNamespace(pad_token_id=2)
    trainer.state = SimpleNamespace(global_step=0)
    ids = torch.tensor([[5, 2, 6, 2, 2, 2]])  # a question, its end, an answer, its end, padding
    labels = torch.tensor([[-100, -100, 6, 2, -100, -100]])
    trainer._track_num_input_tokens({"input_ids": ids, "labels": labels})
    assert trainer._uncounted[0][1] == 4


def test_rows_are_spread_over_the_set() -> None:
    assert checks.rows(range(5)) == [0, 1, 2, 3, 4]
    assert len(checks.rows(range(1000))) <= checks.ROWS
    assert checks.rows(range(1000))[-1] > 900


def test_what_the_loss_sees_is_set_off(tokenizer, row) -> None:
    shown = checks.show(tokenizer, *row)
    assert shown.endswith("<|im_start|>assistant\n[[5\n#### 5<|im_end|>]]\n")
    assert "\x1b[32m5\n#### 5<|im_end|>\x1b[0m" in checks.show(tokenizer, *row, colour=True)
    ids = tokenizer("\x1b[2Ja\r\u202eb\n", add_special_tokens=False)["input_ids"]
    assert checks.show(tokenizer, ids, ids) == r"[[\x1b[2Ja\r\u202eb" + "\n]]"


def settings(**more):
    training = {
        "eval_strategy": "steps",
        "packing": False, "packing_strategy": "bfd", "eval_packing": None, "padding_free": False,
        "max_length": 64, "chat_template_path": None, "optim": "adamw_torch_fused",
        "n_gpu": 1, "model_init_kwargs": None,
    }  # fmt: skip
    model = {"load_in_4bit": False, "load_in_8bit": False, "use_peft": False}
    changed = {key: {**values, **more} for key, values in (("t", training), ("m", model))}
    return SimpleNamespace(
        data=SimpleNamespace(HOLDS_OUT=True, accuracy=None),
        training=SimpleNamespace(**changed["t"]),
        model=SimpleNamespace(**changed["m"]),
    )


def check(settings) -> None:
    checks.check_settings(settings)
    Sft().check(settings)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"packing": True, "packing_strategy": "wrapped"}, "packing_strategy wrapped"),
        ({"n_gpu": 8}, "one process sees 8 GPUs; show it one"),
        ({"packing": True, "packing_strategy": "bfd_split"}, "packing_strategy bfd_split"),
        ({"packing": True, "max_length": None}, "needs max_length"),
        ({"eval_packing": True}, "needs packing: true"),
        ({"padding_free": True}, "set packing: true"),
        ({"chat_template_path": "x"}, "our key for the template is chat_template"),
        ({"load_in_4bit": True}, "use_peft: true"),
    ],
)
def test_options_that_break_a_run_are_refused(more, words) -> None:
    check(settings())
    check(settings(packing=True, eval_packing=False, padding_free=True))
    with pytest.raises(InputError, match=words):
        check(settings(**more))


def test_a_quantised_base_needs_its_library(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install bitsandbytes"):
        check(settings(load_in_8bit=True, use_peft=True))


@pytest.mark.parametrize(
    ("optimiser", "package"),
    [("paged_adamw_8bit", "bitsandbytes"), ("adamw_torch_8bit", "torchao")],
)
def test_an_optimiser_with_a_small_state_needs_its_library(optimiser, package, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check(settings(optim="adafactor"))
    with pytest.raises(InputError, match=f"optim: {optimiser} needs: pip install {package}"):
        check(settings(optim=optimiser))


@pytest.fixture
def folder(model_dir, tmp_path):
    return shutil.copytree(model_dir, tmp_path / "model")


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
)
def test_a_missing_file_of_the_model_is_named(folder, name) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"no {name} there"):
        load_tokenizer(str(folder), TEMPLATE)


def test_a_missing_shard_is_named(folder) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"no model-00002-of-00002.safetensors there"):
        load_tokenizer(str(folder), TEMPLATE)


@pytest.mark.parametrize("pad", [IM_END, None])
def test_one_token_may_end_a_text_end_an_answer_and_pad(folder, pad) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"pad_token": pad, "eos_token": IM_END}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(str(folder), TEMPLATE)
    chat = Chat(tokenizer, tokenizer.chat_template)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == chat.stop
    encoded = chat.encode([conversation("2 + 3?", "5")])[0]
    assert encoded.labels[-2] == chat.stop


def test_a_tokenizer_gets_the_control_tokens_that_the_template_needs(folder) -> None:
    text = (folder / "tokenizer.json").read_text().replace(IM_END, "<|end|>")
    (folder / "tokenizer.json").write_text(text)
    tokenizer = load_tokenizer(str(folder), None)
    assert tokenizer.new_tokens == [tokenizer.convert_tokens_to_ids(IM_END)] == [len(tokenizer) - 1]
    assert Chat(tokenizer, tokenizer.chat_template).stop == tokenizer.new_tokens[0]


def test_a_sentencepiece_model_alone_is_a_tokenizer(tmp_path) -> None:
    save_other_tokenizer(tmp_path, 400, pieces=True)
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role }}\n{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}assistant\n{% endif %}"
    )
    with pytest.raises(InputError, match=r"no config\.json there"):
        load_tokenizer(str(tmp_path), None)
    tokenizer = load_tokenizer(str(tmp_path), None, weights=False)
    encoded = Chat(tokenizer, tokenizer.chat_template).encode([conversation("one", "two")])[0]
    assert tokenizer.decode([i for i in encoded.labels if i != -100]) == "two</s>"
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json there, and no tokenizer\.model"):
        load_tokenizer(str(tmp_path), None, weights=False)


def test_a_model_keeps_its_own_template(folder, tmp_path) -> None:
    own = "{% for m in messages %}{{ m.content }}<|endoftext|>{% endfor %}"
    (folder / "chat_template.jinja").write_text(own)
    tokenizer = load_tokenizer(str(folder), None)
    assert tokenizer.chat_template == own
    assert Chat(tokenizer, own).stop == tokenizer.convert_tokens_to_ids(EOS)
    assert load_tokenizer(str(folder), TEMPLATE).chat_template == TEMPLATE.read_text()
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    with pytest.raises(InputError, match=r"the chat template of .*/model: .*no special token"):
        load_tokenizer(str(folder), None)


def test_a_template_that_does_not_train_the_stop_token_is_refused(model_dir, tmp_path) -> None:
    text = TEMPLATE.read_text()
    wrong = text.replace(
        "+ '<|im_end|>' }}{%- endgeneration %}", "}}{%- endgeneration %}{{- '<|im_end|>' }}"
    )
    assert wrong != text
    (tmp_path / "wrong.jinja").write_text(wrong)
    with pytest.raises(InputError, match=r"would not see <\|im_end\|> at the end"):
        load_tokenizer(str(model_dir), tmp_path / "wrong.jinja")


def test_a_template_that_doubles_the_beginning_is_refused(folder, tmp_path) -> None:
    (tmp_path / "two.jinja").write_text("{{- bos_token }}" + TEMPLATE.read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["bos_token"] = EOS
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    load_tokenizer(str(folder), tmp_path / "two.jinja")
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [1], "tokens": ["<|endoftext|>"]}
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    load_tokenizer(str(folder), TEMPLATE)
    with pytest.raises(InputError, match="there would be two"):
        load_tokenizer(str(folder), tmp_path / "two.jinja")


def test_a_token_without_an_embedding_is_named(tokenizer) -> None:
    entries = len(tokenizer)
    assert check_vocabulary(tokenizer, entries) == 0
    assert check_vocabulary(tokenizer, entries + 12) == 12
    with pytest.raises(InputError, match=rf"has the id {entries - 1}, the model's embedding"):
        check_vocabulary(tokenizer, entries - 1)
    with pytest.raises(InputError, match=r"'<\|im_end\|>' has the id 3"):
        check_vocabulary(tokenizer, 3)
