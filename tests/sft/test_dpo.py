"""The loss sees two answers with their stop tokens; interrupting a run changes no weight."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.numpy

from sft import dpo
from sft.checkpoints import INPUTS, MODEL
from sft.checks import check_settings
from sft.config import DpoData
from sft.preferences import MANIFEST, PAIRS
from tests.support import records
from tests.support.sampler import NumberSampler
from tinymathreason.chat import Chat
from tinymathreason.chatml import IM_END, TEMPLATE, conversation
from tinymathreason.cli import InputError
from tinymathreason.records.tuning import DpoRecord, Preferences

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

CONFIG = """
model_name_or_path: {model}
output_dir: {output}
sources:
  problems: {{format: arithmetic, examples: 8}}
sampling: {{samples: 20, max_new_tokens: 16}}
pairs_per_problem: 1
max_steps: 2
per_device_train_batch_size: 2
learning_rate: 1.0e-3
loss_type: [sigmoid, sft]
activation_checkpointing: false
use_cpu: true
bf16: false
logging_steps: 1
save_steps: 1
report_to: none
disable_tqdm: true
"""


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """A stand-in for a model: its answers are the numbers from 0 to 19."""

    monkeypatch.setattr("sft.preferences.Sampler", NumberSampler)


def write(tmp_path, model, name: str = "out", more: str = "") -> list[str]:
    path = tmp_path / f"{name}.yaml"
    path.write_text(CONFIG.format(model=model, output=tmp_path / name) + more)
    return ["--config", str(path)]


@pytest.fixture
def chat(model_dir):
    from sft.model import load_tokenizer

    tokenizer = load_tokenizer(str(model_dir), TEMPLATE)
    return Chat(tokenizer, tokenizer.chat_template)


def test_rows_are_the_prompt_and_two_answers_to_their_stop_tokens(chat) -> None:
    pair = {
        "prompt": conversation("2 + 2?"),
        "chosen": [{"role": "assistant", "content": "#### 4"}],
        "rejected": [{"role": "assistant", "content": "<|im_end|> #### 5"}],
    }
    (row,) = dpo.rows(chat, json.dumps(pair).encode() + b"\n")
    decoded = {key: chat.tokenizer.decode(ids) for key, ids in row.items()}
    assert decoded == {
        "prompt_ids": "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n",
        "chosen_ids": "#### 4<|im_end|>",
        "rejected_ids": "<|im_end|> #### 5<|im_end|>",
    }
    stop = chat.tokenizer.convert_tokens_to_ids(IM_END)
    assert row["prompt_ids"] == chat.encode([conversation("2 + 2?")], prompt=True)[0].ids
    assert row["rejected_ids"].count(stop) == 1


def weights(output):
    return safetensors.numpy.load_file(output / MODEL / "model.safetensors")


@pytest.mark.processor
def test_two_steps_from_config_to_model_interrupted_and_not(
    model_dir, tmp_path, monkeypatch, capsys
) -> None:
    from transformers import GenerationConfig, TrainerCallback, trainer

    whole = write(tmp_path, model_dir, "whole")
    dpo.main(whole)

    began = []

    class Interrupt(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs) -> None:
            began.append(state.global_step)
            if began == [0, 1]:
                raise KeyboardInterrupt

    broken = write(tmp_path, model_dir, "broken")
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "DEFAULT_CALLBACKS", [*trainer.DEFAULT_CALLBACKS, Interrupt])
        with pytest.raises(KeyboardInterrupt):
            dpo.main(broken)
        assert not (tmp_path / "broken" / MODEL).exists()
        # A kill while saving leaves a checkpoint without the file that is written last.
        (tmp_path / "broken" / "checkpoint-2").mkdir()
        dpo.main(broken)
    assert began == [0, 1, 1]

    start = safetensors.numpy.load_file(model_dir / "model.safetensors")
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert expected.keys() == found.keys() == start.keys()
    for name, array in expected.items():
        assert (array == found[name]).all(), name
    assert any((expected[name] != start[name]).any() for name in start)

    folder = tmp_path / "broken" / MODEL
    record = DpoRecord.load(folder / "dpo.json")
    assert [entry.step for entry in record.history if entry.loss is not None] == [1, 2]
    # Before the first step the model is its own reference: no answer has gained on another.
    assert record.history[0].model_dump()["rewards/margins"] == 0
    assert record.counts == Preferences.load(tmp_path / "broken" / "pairs" / MANIFEST).counts
    assert record.steps == 2
    assert (folder / "curves.png").is_file()
    stops = GenerationConfig.from_pretrained(folder).eos_token_id
    assert len(stops) == 2

    capsys.readouterr()
    dpo.main(whole)
    assert "was already complete" in capsys.readouterr().out


def test_the_trainer_reads_our_rows_as_they_are(model_dir, tmp_path, chat, monkeypatch) -> None:
    import trl

    seen = {}

    class Seen(trl.DPOTrainer):
        def train(self, **kwargs) -> None:
            seen["rows"] = list(self.train_dataset)
            seen["batch"] = next(iter(self.get_train_dataloader()))
            raise InputError("enough")

    monkeypatch.setattr(trl, "DPOTrainer", Seen)
    with pytest.raises(InputError, match="enough"):
        dpo.main(write(tmp_path, model_dir))
    rows = dpo.rows(chat, (tmp_path / "out" / "pairs" / PAIRS).read_bytes())
    assert seen["rows"] == rows
    batch = seen["batch"]
    stop = chat.tokenizer.convert_tokens_to_ids(IM_END)
    for ids, mask, attention in zip(
        batch["input_ids"], batch["completion_mask"], batch["attention_mask"], strict=True
    ):
        assert ids[mask.bool()][-1] == stop == ids[attention.bool()][-1]


def test_lora_is_merged_into_a_plain_model(model_dir, tmp_path) -> None:
    more = "use_peft: true\nlora_r: 4\nlora_target_modules: all-linear\n"
    dpo.main(write(tmp_path, model_dir, more=more))
    start = safetensors.numpy.load_file(model_dir / "model.safetensors")
    found = weights(tmp_path / "out")
    changed = {name for name in found if (found[name] != start[name]).any()}
    assert changed == {name for name in start if "_proj" in name}


def test_another_run_in_the_same_folder_is_refused(model_dir, tmp_path) -> None:
    records.tuning_run(values={}).write(tmp_path / "out" / INPUTS)
    with pytest.raises(InputError, match="has another "):
        dpo.main(write(tmp_path, model_dir))
    assert not (tmp_path / "out" / "pairs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--learning_rte", "1"], "learning_rte"),
        (["--eval_strategy", "steps", "--eval_steps", "1"], "use our key accuracy"),
        (["--sync_ref_model", "true"], "a resumed run would differ"),
        (["--load_in_4bit", "true"], "use_peft: true"),
        (["accuracy.task=gsm9k"], "unknown 'gsm9k'"),
        (["accuracy.problems=5"], "accuracy: there are no held-out examples here; name a task"),
        (["chat_template=/nowhere"], "no template /nowhere"),
    ],
)
def test_bad_input_is_one_line(model_dir, tmp_path, arguments, words) -> None:
    with pytest.raises(InputError) as error:
        dpo.main([*write(tmp_path, model_dir), *arguments])
    assert words in str(error.value)
    assert not (tmp_path / "out" / "pairs").exists()


@pytest.mark.parametrize("name", ["sft.dpo", "sft.preferences"])
def test_help_is_there_before_the_slow_libraries(name) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module({name!r}, run_name='__main__')\n"
        "finally: sys.exit(bool({'torch', 'trl', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--config" in done.stdout


@pytest.mark.parametrize("name", ["dpo.yaml", "dpo_demo.yaml"])
def test_shipped_configurations_are_read(name, tmp_path, model_dir) -> None:
    from sft.settings import find, parse

    arguments = ["--model_name_or_path", str(model_dir), "--bf16", "false"]
    settings = parse(find(Path(name)), arguments, DpoData, "DPOConfig")
    assert settings.training.loss_type == ["sigmoid", "sft"]
    check_settings(settings)
    dpo.Dpo().check(settings)
