"""The loss sees what the assistant says and no more; interrupting a run changes no weight."""

import json

import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sft import run, train
from tinymathreason.chatml import IM_END, SPECIAL_TOKENS, TEMPLATE
from tinymathreason.cli import InputError
from tinymathreason.files import write_json

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

CONFIG = """
model_name_or_path: {model}
output_dir: {output}
sources:
  problems: {{format: arithmetic, examples: 60}}
eval_fraction: 0.2
max_steps: 6
per_device_train_batch_size: 4
learning_rate: 1.0e-3
max_length: 128
activation_checkpointing: false
use_cpu: true
logging_steps: 1
save_steps: 2
eval_strategy: steps
eval_steps: 3
report_to: none
disable_tqdm: true
"""

content = st.text(max_size=30).filter(lambda text: not any(t in text for t in SPECIAL_TOKENS))


@pytest.fixture(scope="module")
def tokenizer(model_dir):
    return train.load_tokenizer(str(model_dir), TEMPLATE)


@settings(max_examples=50, deadline=None)
@given(st.none() | content, st.lists(st.tuples(content, content), min_size=1, max_size=3))
def test_the_loss_sees_the_assistants_words_and_stop_token_alone(tokenizer, system, turns) -> None:
    messages = [] if system is None else [{"role": "system", "content": system}]
    for question, answer in turns:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    out = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    seen = [i for i, mask in zip(out["input_ids"], out["assistant_masks"], strict=True) if mask]
    spoken = "".join(answer + IM_END for _, answer in turns)
    assert tokenizer.decode(seen, skip_special_tokens=False) == spoken


def test_prompt_is_a_prefix_of_the_conversation(tokenizer) -> None:
    question = [{"role": "user", "content": "2 + 2?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(
        [*question, {"role": "assistant", "content": "4"}], tokenize=False
    )
    assert prompt == "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert whole == f"{prompt}4<|im_end|>\n"


def test_a_template_that_does_not_train_the_stop_token_is_refused(model_dir, tmp_path) -> None:
    text = TEMPLATE.read_text()
    wrong = text.replace(
        "+ '<|im_end|>' }}{%- endgeneration %}", "}}{%- endgeneration %}{{- '<|im_end|>' }}"
    )
    assert wrong != text
    (tmp_path / "wrong.jinja").write_text(wrong)
    with pytest.raises(InputError, match="would not see the token that ends"):
        train.load_tokenizer(str(model_dir), tmp_path / "wrong.jinja")


def test_padding_that_is_the_end_token_is_refused(model_dir, tmp_path) -> None:
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((model_dir / name).read_bytes())
    config = json.loads((model_dir / "tokenizer_config.json").read_text())
    config["pad_token"] = config["eos_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="padding token other than end-of-text"):
        train.load_tokenizer(str(tmp_path), TEMPLATE)


def write(path, model, output, more: str = ""):
    path.write_text(CONFIG.format(model=model, output=output) + more)
    return path


def weights(output):
    return safetensors.numpy.load_file(output / train.MODEL / "model.safetensors")


def test_interrupted_and_resumed_equals_uninterrupted(model_dir, tmp_path, monkeypatch) -> None:
    from transformers import TrainerCallback

    whole = write(tmp_path / "whole.yaml", model_dir, tmp_path / "whole")
    run.main(["--config", str(whole)])

    class Interrupt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            if state.global_step == 5:
                raise KeyboardInterrupt

    broken = write(tmp_path / "broken.yaml", model_dir, tmp_path / "broken")
    with monkeypatch.context() as patch:
        from transformers import trainer

        patch.setattr(trainer, "DEFAULT_CALLBACKS", [*trainer.DEFAULT_CALLBACKS, Interrupt])
        with pytest.raises(KeyboardInterrupt):
            run.main(["--config", str(broken)])
    assert not (tmp_path / "broken" / train.MODEL).exists()
    # A kill -9 while saving leaves a checkpoint without the file that is written last.
    (tmp_path / "broken" / "checkpoint-5").mkdir()
    run.main(["--config", str(broken)])

    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert (array == found[name]).all(), name
    record = json.loads((tmp_path / "broken" / train.MODEL / "sft.json").read_text())
    assert [e["step"] for e in record["history"] if "loss" in e] == [1, 2, 3, 4, 5, 6]
    assert record["counts"]["problems"]["read"] == 60
    assert 6 * 4 * 30 < record["tokens"] < 6 * 4 * 128


def test_another_run_in_the_same_folder_is_refused(model_dir, tmp_path) -> None:
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out")
    write_json(tmp_path / "out" / train.INPUTS, {"values": {}, "arguments": []})
    with pytest.raises(InputError, match="holds a run with another configuration"):
        run.main(["--config", str(config)])


def test_labels_of_real_rows_are_checked(model_dir, tmp_path, monkeypatch) -> None:
    import trl

    class Careless(trl.SFTTrainer):
        def __init__(self, *args, **kwargs) -> None:
            kwargs["args"].assistant_only_loss = False
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(trl, "SFTTrainer", Careless)
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out")
    with pytest.raises(InputError, match=r"the loss would see '<\|im_start\|>user"):
        run.main(["--config", str(config)])


def test_lora_is_merged_into_a_plain_model(model_dir, tmp_path) -> None:
    more = "use_peft: true\nlora_r: 4\nlora_target_modules: all-linear\n"
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out", more)
    run.main(["--config", str(config)])
    start = safetensors.numpy.load_file(model_dir / "model.safetensors")
    found = weights(tmp_path / "out")
    assert found.keys() == start.keys()
    changed = {name for name in found if (found[name] != start[name]).any()}
    assert changed == {name for name in found if "_proj" in name}


def test_the_result_stops_at_the_end_of_an_answer(model_dir, tmp_path, capsys) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out")
    run.main(["--config", str(config), "--max_steps", "2"])
    model = tmp_path / "out" / train.MODEL
    tokenizer = AutoTokenizer.from_pretrained(model)
    stop = tokenizer.convert_tokens_to_ids(IM_END)
    assert stop in GenerationConfig.from_pretrained(model).eos_token_id
    assert "generation" in tokenizer.chat_template
    run.main(["--config", str(config), "--max_steps", "2"])
    assert "was already complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "arguments", "words"),
    [
        ("learning_rte: 1", [], "unknown key 'learning_rte'; did you mean 'learning_rate'"),
        ("eval_fractoin: 1", [], "did you mean 'eval_fraction'"),
        ("seed: many", [], "seed"),
        ("", ["--no_such_key", "1"], "no_such_key"),
        ("", ["eval_fraction=7"], "eval_fraction must be between"),
        ("", ["sources.problems.format=jsonl"], "path is needed"),
        ("", ["--model_name_or_path", ""], "'model_name_or_path' is missing"),
        ("", ["--model_name_or_path", "/nowhere"], "/nowhere: no model there"),
    ],
)
def test_bad_input_is_one_line(model_dir, tmp_path, more, arguments, words) -> None:
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out", more)
    with pytest.raises(InputError) as error:
        run.main(["--config", str(config), *arguments])
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_configuration_is_told() -> None:
    with pytest.raises(InputError, match="no such file"):
        run.main(["--config", "none.yaml"])


def test_too_few_embedding_rows_are_refused(model_dir, tmp_path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_dir)
    model.resize_token_embeddings(300)
    model.save_pretrained(tmp_path / "small")
    AutoTokenizer.from_pretrained(model_dir).save_pretrained(tmp_path / "small")
    config = write(tmp_path / "a.yaml", tmp_path / "small", tmp_path / "out")
    with pytest.raises(InputError, match="the model has 300 "):
        run.main(["--config", str(config)])
