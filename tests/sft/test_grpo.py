"""A short run ends in a whole model folder; its rewards reach TRL; bad input is one line."""

import json
import re

import pytest
import safetensors.numpy

from sft import grpo
from sft.checkpoints import MODEL
from sft.checks import check_settings
from sft.config import GrpoData
from sft.grpo import rows
from sft.logprobs import METRIC
from sft.problems import Problem
from sft.rewards import REWARDS
from sft.session import train
from sft.settings import parse
from tests.support import scripted
from tinymathreason.chatml import IM_END
from tinymathreason.cli import InputError
from tinymathreason.records.tuning import GrpoRecord

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

CONFIG = """
model_name_or_path: {model}
output_dir: {output}
sources:
  problems: {{format: arithmetic, examples: 6}}
rewards: {{format: 0.25, repetition: 0.5}}
accuracy: {{task: arithmetic, problems: 2, every: 3, max_new_tokens: 2}}
max_steps: 6
per_device_train_batch_size: 4
num_generations: 2
learning_rate: 1.0e-3
max_completion_length: 6
activation_checkpointing: false
bf16: false
use_cpu: true
logging_steps: 1
save_steps: 1
report_to: none
disable_tqdm: true
"""


def write(path, model, output, more: str = ""):
    path.write_text(CONFIG.format(model=model, output=output) + more)
    return path


def weights(output):
    return safetensors.numpy.load_file(output / MODEL / "model.safetensors")


def earned(output):
    record = GrpoRecord.load(output / MODEL / "grpo.json")
    history = [entry.model_dump() for entry in record.history]
    return [(entry["step"], entry["reward"]) for entry in history if "reward" in entry]


@pytest.fixture(scope="module", autouse=True)
def _paid_by_the_letter():
    """Random weights earn none of our rewards: without another, no weight would change.

    It tells the problems apart, too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REWARDS, "repetition", lambda text, right, judge: len(text) + int(right))
        yield


@pytest.fixture(scope="module")
def whole(model_dir, tmp_path_factory):
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("grpo")
    grpo.main(["--config", str(write(folder / "a.yaml", model_dir, folder / "out"))])
    return folder / "out"


def test_rows_are_conversations_that_the_model_has_to_go_on_with() -> None:
    assert rows([Problem("2 + 2?", "4")]) == [
        {"prompt": [{"role": "user", "content": "2 + 2?"}], "answer": "4"}
    ]


@pytest.mark.processor
def test_the_finished_folder_is_a_whole_model_with_its_record(whole, model_dir, capsys) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(whole / MODEL)
    model = AutoModelForCausalLM.from_pretrained(whole / MODEL)
    assert IM_END in tokenizer.chat_template
    assert tokenizer.convert_tokens_to_ids(IM_END) in model.generation_config.eos_token_id
    before = safetensors.numpy.load_file(model_dir / "model.safetensors")
    assert all((weights(whole)[name] != array).any() for name, array in before.items())
    record = GrpoRecord.load(whole / MODEL / "grpo.json")
    assert (record.steps, record.rewards) == (6, {"format": 0.25, "repetition": 0.5})
    assert sum(record.counts["problems"].values()) == 6
    assert record.counts["problems"]["kept"] == record.problems
    assert [step for step, _ in earned(whole)] == [1, 2, 3, 4, 5, 6]
    measured = [entry.step for entry in record.history if "eval_accuracy" in entry.model_dump()]
    assert measured == [3, 6]
    assert {"trl", "torch", "transformers"} <= record.provenance.versions.keys()
    # The same command again finds it done, and changes nothing.
    grpo.main(["--config", str(whole.parent / "a.yaml")])
    assert "was already complete" in capsys.readouterr().out


def test_no_setting_of_the_base_reaches_an_answer_or_the_finished_model(
    model_dir, tmp_path, capsys
) -> None:
    """Every answer that is rewarded is the built one, to the template's end."""
    from transformers import GenerationConfig

    base = scripted.write(model_dir, tmp_path / "base")
    asked = {"eos_token_id": 1, "min_new_tokens": 20, "no_repeat_ngram_size": 1}
    (base / "generation_config.json").write_text(json.dumps(asked))
    rewarded: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            REWARDS, "repetition", lambda text, right, judge: float(bool(rewarded.append(text)))
        )
        more = "temperature: 0.001\n"
        path = write(tmp_path / "a.yaml", base, tmp_path / "out", more)
        grpo.main(["--config", str(path), "--max_steps", "1", "--max_completion_length", "30"])
    assert len(rewarded) >= 4
    assert all(re.fullmatch(r"\d[A-H]*A", text) for text in rewarded)
    finished = GenerationConfig.from_pretrained(tmp_path / "out" / MODEL).to_diff_dict()
    del finished["transformers_version"]
    assert finished == {"do_sample": False, "eos_token_id": [3, 1], "pad_token_id": 0}
    told = f"note: {base} requests min_new_tokens 20, no_repeat_ngram_size 1"
    assert capsys.readouterr().out.count(told) == 1


@pytest.mark.processor
def test_interrupted_and_resumed_equals_uninterrupted(
    whole, model_dir, tmp_path, monkeypatch
) -> None:
    from transformers import TrainerCallback, trainer

    class Interrupt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            if state.global_step == 5:
                raise KeyboardInterrupt

    # Three steps are an epoch: the run goes on in the midst of the second one.
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "DEFAULT_CALLBACKS", [*trainer.DEFAULT_CALLBACKS, Interrupt])
        with pytest.raises(KeyboardInterrupt):
            grpo.main(["--config", str(config)])
    assert not (tmp_path / "out" / MODEL).exists()
    assert (tmp_path / "out" / "checkpoint-4").exists()
    # A kill -9 while saving leaves a checkpoint without the file that is written last.
    (tmp_path / "out" / "checkpoint-5").mkdir(exist_ok=True)
    grpo.main(["--config", str(config)])
    found = weights(tmp_path / "out")
    for name, array in weights(whole).items():
        assert (array == found[name]).all(), name
    assert earned(tmp_path / "out") == earned(whole)
    with pytest.raises(InputError, match="has another learning_rate"):
        grpo.main(["--config", str(config), "--learning_rate", "1e-5"])


def settings(model_dir, tmp_path, *arguments: str, more: str = ""):
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out", more)
    return parse(config, arguments, GrpoData, "GRPOConfig")


def test_rewards_reach_trl_with_their_weights_and_what_ends_an_answer(
    model_dir, tmp_path, monkeypatch
) -> None:
    import trl

    made = []

    class Spy(trl.GRPOTrainer):
        def __init__(self, **kwargs) -> None:
            super().__init__(**kwargs)
            made.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(trl, "GRPOTrainer", Spy)
    found = settings(model_dir, tmp_path, "rewards.accuracy=2")
    with pytest.raises(KeyboardInterrupt):
        train(grpo.Grpo(), found)
    (trainer,) = made
    by_name = dict(zip(trainer.reward_func_names, trainer.reward_weights.tolist(), strict=True))
    assert by_name == {"accuracy": 2.0, "format": 0.25, "repetition": 0.5}
    right = [[{"role": "assistant", "content": "First 1 + 1 = 2.\n#### 2"}]]
    accuracy = trainer.reward_funcs[trainer.reward_func_names.index("accuracy")]
    assert accuracy(prompts=[[]], completions=right, answer=["2"]) == [1.0]
    assert accuracy(prompts=[[]], completions=right, answer=["3"]) == [0.0]
    stop = trainer.processing_class.convert_tokens_to_ids(IM_END)
    assert stop in trainer.eos_token_ids
    assert stop in trainer.generation_config.eos_token_id


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rewards.acuracy=1"], "unknown 'acuracy'; did you mean 'accuracy'"),
        (["rewards=null"], "rewards"),
        (["chat_template=none.jinja"], "no template none.jinja"),
        (["--num_generations", "3"], "must be divisible by num_generations"),
    ],
)
def test_wrong_values_are_one_line(model_dir, tmp_path, arguments, words) -> None:
    with pytest.raises(InputError, match=words) as error:
        settings(model_dir, tmp_path, *arguments)
    assert "\n" not in str(error.value)


def test_an_unknown_key_is_named_with_its_neighbour(model_dir, tmp_path) -> None:
    with pytest.raises(InputError, match=r"unknown key 'tempereture'; did you mean 'temperature'"):
        settings(model_dir, tmp_path, more="tempereture: 1.0\n")


def check(settings) -> None:
    check_settings(settings)
    grpo.Grpo().check(settings)
    grpo.check_batch(settings.training, problems=40)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reward_weights", "1", "1"], "our key is rewards"),
        (["--use_vllm", "true"], "pip install vllm=="),
        (["--eval_strategy", "steps", "--eval_steps", "1"], "use our key accuracy"),
        (["--per_device_train_batch_size", "200"], "40 problems, but a batch needs 100"),
        (["--steps_per_generation", "3", "--save_steps", "2"], "must be a multiple of 3"),
        (["--num_iterations", "2"], "must be a multiple of 2"),
        (["--load_in_4bit", "true"], "add an adapter"),
    ],
)
def test_options_that_break_a_run_are_refused(model_dir, tmp_path, arguments, words) -> None:
    found = settings(model_dir, tmp_path, *arguments)
    with pytest.raises(InputError, match=words) as error:
        check(found)
    assert "\n" not in str(error.value)


def test_the_gap_between_sampler_and_trainer_is_logged(whole) -> None:
    """At the first step of ten; both compute in float32 here, so that only rounding remains."""
    record = GrpoRecord.load(whole / MODEL / "grpo.json")
    history = [entry.model_dump() for entry in record.history]
    found = [
        (e["step"], e[f"{METRIC}/mean"], e[f"{METRIC}/max"])
        for e in history
        if f"{METRIC}/mean" in e
    ]
    ((step, mean, most),) = found
    assert step == 1
    assert 0 < mean <= most < 1e-4


def test_weights_are_not_converted_for_continuous_batching(model_dir, tmp_path) -> None:
    path = write(tmp_path / "a.yaml", model_dir, tmp_path / "out")
    settings = parse(path, ["use_transformers_continuous_batching=true"], GrpoData, "GRPOConfig")
    grpo.Grpo().check(settings)
    settings.training.bf16 = True
    with pytest.raises(InputError, match=r"converts the float32 weights .* to bfloat16"):
        grpo.Grpo().check(settings)
