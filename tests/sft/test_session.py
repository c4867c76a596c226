"""SFT, DPO and GRPO lock, resume, record, finish and refuse alike; only the algorithm differs."""

import json
import shutil

import pytest
import safetensors.numpy

from sft import dpo, grpo, run
from sft.checkpoints import INPUTS, MODEL
from sft.preferences import MANIFEST
from sft.rewards import REWARDS
from tests.support.sampler import NumberSampler
from tinymathreason.chatml import IM_END, SPECIAL_TOKENS
from tinymathreason.cli import InputError
from tinymathreason.files import locked, read_json, write_json
from tinymathreason.provenance import model_hash

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

CONFIG = """
model_name_or_path: {model}
output_dir: {output}
sources: {{problems: {{format: arithmetic, examples: 30}}}}
max_steps: 2
per_device_train_batch_size: 2
learning_rate: 1.0e-3
activation_checkpointing: false
bf16: false
use_cpu: true
logging_steps: 1
save_steps: 1
report_to: none
disable_tqdm: true
"""
MAINS = {"sft": run.main, "dpo": dpo.main, "grpo": grpo.main}
KEYS = {
    "sft": "max_length: 128\neval_fraction: 0.2\n",
    "dpo": "sampling: {samples: 20, max_new_tokens: 16}\npairs_per_problem: 1\n",
    "grpo": "rewards: {format: 1}\nnum_generations: 2\nmax_completion_length: 6\n",
}
COMMON = {
    "base", "data", "tokenizer", "processes", "counts", "model_name_or_path", "model_sha256",
    "history", "tokens", "steps", "arguments", "device", "arithmetic", "weights", "seconds",
}  # fmt: skip
"""Keys of every record."""
OWN = {"sft": {"manifest"}, "dpo": set(), "grpo": {"problems", "rewards", "unjudged"}}
"""Keys of the record of one algorithm."""


@pytest.fixture(autouse=True)
def _right_and_wrong_answers(monkeypatch):
    """Stand-ins for what random weights do not give: pairs for DPO, and a reward for GRPO."""

    monkeypatch.setattr("sft.preferences.Sampler", NumberSampler)
    monkeypatch.setitem(REWARDS, "format", lambda text, right, judge: float(len(text)))


def command(name: str, model, folder) -> list[str]:
    config = folder / "a.yaml"
    config.write_text(CONFIG.format(model=model, output=folder / "out") + KEYS[name])
    return ["--config", str(config)]


@pytest.mark.parametrize("name", MAINS)
def test_from_a_lock_to_a_finished_model(name, model_dir, tmp_path, monkeypatch, capsys) -> None:
    from transformers import TrainerCallback, trainer

    main, words, output = MAINS[name], command(name, model_dir, tmp_path), tmp_path / "out"
    told = pytest.raises(InputError, match="out: another process is training there")
    with locked(output, "training"), told:
        main(words)

    began = []

    class Interrupt(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs) -> None:
            began.append(state.global_step)
            if began == [0, 1]:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "DEFAULT_CALLBACKS", [*trainer.DEFAULT_CALLBACKS, Interrupt])
        with pytest.raises(KeyboardInterrupt):
            main(words)
        assert not (output / MODEL).exists()
        with pytest.raises(InputError, match="has another learning_rate; remove it or set output"):
            main([*words, "--learning_rate", "1e-5"])
        main(words)
    assert began == [0, 1, 1]

    record = json.loads((output / MODEL / f"{name}.json").read_text())
    inputs = json.loads((output / INPUTS).read_text())
    assert COMMON | OWN[name] <= record.keys()
    assert record["base"] == inputs["base"] == model_hash(model_dir)
    for key in ("data", "tokenizer", "processes"):
        assert record[key] == inputs[key]
    assert record["model_sha256"] == model_hash(output / MODEL)
    assert record["steps"] == 2
    assert [entry["step"] for entry in record["history"] if "loss" in entry] == [1, 2]
    assert {path.name for path in (output / MODEL).iterdir()} == {
        "chat_template.jinja", "config.json", "curves.png", "generation_config.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json", f"{name}.json",
    }  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{output / MODEL} written"
    assert "Training on cpu in float32" in lines
    assert any(line.startswith("problems") for line in lines)  # the counts, as whole lines
    main(words)
    assert capsys.readouterr().out == f"{output / MODEL} was already complete\n"


@pytest.fixture
def hub(model_dir, tmp_path, monkeypatch):
    """A cache of the hub with org/name: ``main`` is the tests' model, ``tuned`` has other weights.

    Returns the folder of ``tuned``.
    """
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    for revision, commit in (("main", "a" * 40), ("tuned", "b" * 40)):
        (repository / "refs" / revision).write_text(commit)
        shutil.copytree(model_dir, repository / "snapshots" / commit)
    folder = repository / "snapshots" / ("b" * 40)
    path = folder / "model.safetensors"
    arrays = safetensors.numpy.load_file(path)
    arrays = {name: array if "norm" in name else array * 2 for name, array in arrays.items()}
    safetensors.numpy.save_file(arrays, path, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("name", MAINS)
def test_a_model_on_the_hub_is_taken_at_its_revision(name, hub, tmp_path) -> None:
    words = [*command(name, "org/name", tmp_path), "--model_revision", "tuned"]
    MAINS[name]([*words, "--learning_rate", "0", "--max_steps", "1"])
    folder = tmp_path / "out" / MODEL
    finished = safetensors.numpy.load_file(folder / "model.safetensors")
    expected = safetensors.numpy.load_file(hub / "model.safetensors")
    assert finished.keys() == expected.keys()
    for key, array in expected.items():
        assert (finished[key] == array).all(), key
    record = json.loads((folder / f"{name}.json").read_text())
    assert record["base"] == "b" * 40
    if name == "dpo":
        # A reference of another revision would prefer other answers.
        assert record["history"][0]["rewards/margins"] == 0
        manifest = json.loads((tmp_path / "out" / "pairs" / MANIFEST).read_text())
        assert manifest["inputs"]["model"] == model_hash(hub)


OPEN_TEMPLATE = """\
{% if messages[0]['role'] != 'system' %}<|im_start|>system
You are an open model<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.mark.parametrize("name", ["dpo", "grpo"])
def test_one_token_may_end_texts_and_turns_and_pad(name, model_dir, tmp_path) -> None:
    """As in SmolLM2, whose template has a system line and no generation block."""
    stop = SPECIAL_TOKENS.index(IM_END)
    folder = shutil.copytree(model_dir, tmp_path / "open")
    for file, changed in (
        ("tokenizer_config.json", {"eos_token": IM_END, "pad_token": IM_END}),
        ("config.json", {"eos_token_id": stop, "pad_token_id": stop}),
        ("generation_config.json", {"eos_token_id": stop, "pad_token_id": stop}),
    ):
        write_json(folder / file, read_json(folder / file) | changed)
    (folder / "chat_template.jinja").write_text(OPEN_TEMPLATE)
    MAINS[name]([*command(name, folder, tmp_path), "--max_steps", "1"])
    finished = tmp_path / "out" / MODEL
    assert (finished / "chat_template.jinja").read_text() == OPEN_TEMPLATE
    generation = read_json(finished / "generation_config.json")
    assert (generation["eos_token_id"], generation["pad_token_id"]) == ([stop], stop)
    tokenizer = read_json(finished / "tokenizer_config.json")
    assert (tokenizer["eos_token"], tokenizer["pad_token"]) == (IM_END, IM_END)


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--load_in_4bit", "true"], "quantised weights cannot be trained; add an adapter"),
        (["--accuracy.task", "gsm9k"], "unknown 'gsm9k'"),
        (["--chat_template", "none.jinja"], "no template none.jinja; accepted: chatml or a file"),
        (["--model_name_or_path", "/nowhere"], "/nowhere: no model there"),
        (["--model_name_or_path", "org/none"], "org/none"),
    ],
)
def test_a_mistake_is_one_line_and_the_same_for_all(
    name, words, message, model_dir, tmp_path
) -> None:
    with pytest.raises(InputError) as error:
        MAINS[name]([*command(name, model_dir, tmp_path), *words])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["dpo", "grpo"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--eval_strategy", "steps", "--eval_steps", "1"], "eval_strategy: there are no held-out"),
        (["--accuracy.problems", "5"], "accuracy: there are no held-out examples here; name a"),
    ],
)
def test_what_needs_held_out_examples_is_refused(name, words, message, model_dir, tmp_path) -> None:
    with pytest.raises(InputError, match=message):
        MAINS[name]([*command(name, model_dir, tmp_path), *words])
    assert not (tmp_path / "out").exists()
