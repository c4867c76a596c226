"""What is measured beside the loss is right, and changes nothing."""

import contextlib
import io
from types import SimpleNamespace

import pytest

from evaluation import tasks
from evaluation.generate import Generator
from evaluation.interval import wilson
from sft import callbacks, run
from sft.config import Accuracy
from tests.support.tuning import history, weights, write
from tinymathreason.answers import final_line
from tinymathreason.cli import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

ACCURACY = """
accuracy: {task: arithmetic, problems: 8, every: 4, max_new_tokens: 2, batch_size: 3}
"""
LORA = "use_peft: true\nlora_r: 4\nlora_dropout: 0.2\nlora_target_modules: all-linear\n"


@pytest.mark.processor
def test_the_accuracy_is_logged_and_changes_no_loss_and_no_weight(model_dir, tmp_path) -> None:
    # Dropout draws random numbers: one number more or fewer would show.
    for name, more in (("with", LORA + ACCURACY), ("without", LORA)):
        run.main(
            ["--config", str(write(tmp_path / f"{name}.yaml", model_dir, tmp_path / name, more))]
        )
    measured = history(tmp_path / "with")
    found = [entry for entry in measured if "eval_accuracy" in entry]
    assert [entry["step"] for entry in found] == [4, 6]
    low, high = wilson(0, 8)  # a final line takes three tokens: none of them can be right
    for entry in found:
        assert entry["eval_accuracy"] == 0.0
        assert (entry["eval_accuracy_low"], entry["eval_accuracy_high"]) == (low, high)

    def losses(entries):
        keys = ("step", "loss", "eval_loss", "grad_norm", "mean_token_accuracy")
        found = [tuple(entry.get(key) for key in keys) for entry in entries]
        return [values for values in found if values[1] or values[2]]

    assert losses(measured) == losses(history(tmp_path / "without"))
    assert [step for step, loss, *_ in losses(measured) if loss] == [1, 2, 3, 4, 5, 6]
    one, other = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert all((one[name] == other[name]).all() for name in one)


def trainer(**more):
    logged: list[dict[str, float]] = []
    switches: list[bool] = []
    model = SimpleNamespace(
        training=True,
        eval=lambda: switches.append(False),
        train=switches.append,
        config=SimpleNamespace(_attn_implementation="sdpa"),
    )
    accelerator = SimpleNamespace(autocast=contextlib.nullcontext)
    values = {"is_fsdp_enabled": False, "is_deepspeed_enabled": False, "accelerator": accelerator}
    return SimpleNamespace(
        log=lambda logs: logged.append({**logs, "training": switches[-1]}),
        model=model, logged=logged, switches=switches, **{**values, **more},
    )  # fmt: skip


def test_right_answers_count(monkeypatch) -> None:
    problems = tasks.load("arithmetic", None, 10)
    right = {problem.question: int(problem.answer) for problem in problems}

    def answer(self, questions, *arguments, quiet):
        assert quiet
        return [f"So.\n{final_line(right[q] + (i % 5 == 0))}" for i, q in enumerate(questions)]

    monkeypatch.setattr(Generator, "answer", answer)
    made = trainer()
    tokenizer = SimpleNamespace(padding_side="right")
    callback = callbacks.AccuracyCallback(
        made, tokenizer, Accuracy(task="arithmetic", problems=10, every=3)
    )
    control = SimpleNamespace(should_log=True)
    for step in range(1, 8):
        state = SimpleNamespace(global_step=step, max_steps=7, is_world_process_zero=True)
        callback.on_step_end(None, state, control)
    assert [logs["eval_accuracy"] for logs in made.logged] == [0.8, 0.8, 0.8]  # steps 3, 6, 7
    assert not any(logs["training"] for logs in made.logged)
    assert made.switches == [False, True] * 3
    assert tokenizer.padding_side == "right"


@pytest.mark.parametrize("kind", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_sharded_weights_are_refused_at_the_start(kind) -> None:
    with pytest.raises(InputError, match="accuracy: one process cannot answer"):
        callbacks.AccuracyCallback(trainer(**{kind: True}), None, Accuracy(task="arithmetic"))


def test_an_unknown_task_is_reported_at_the_start() -> None:
    with pytest.raises(InputError, match="unknown 'arithmetik'"):
        callbacks.AccuracyCallback(trainer(), None, Accuracy(task="arithmetik"))


def test_held_out_problems_stand_in_for_a_task() -> None:
    problems = tasks.load("arithmetic", None, 5)
    tokenizer = SimpleNamespace(padding_side="right")
    made = callbacks.AccuracyCallback(trainer(), tokenizer, Accuracy(problems=3), problems)
    assert made._problems == problems[:3]
    with pytest.raises(InputError, match="name a task"):
        callbacks.AccuracyCallback(trainer(), tokenizer, Accuracy())


def test_lines_tell_speed_and_time_left_of_this_start(monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    lines = callbacks.Lines(stream)
    state = SimpleNamespace(
        global_step=100, max_steps=1100, num_input_tokens_seen=50_000, is_world_process_zero=True
    )
    lines.on_train_begin(None, state, None)
    now[0] += 20.0
    state.global_step, state.num_input_tokens_seen = 110, 70_000
    lines.on_log(None, state, None, {"loss": 1.25, "learning_rate": 1e-3})
    lines.on_log(None, state, None, {"eval_loss": 1.5})
    measured = {"eval_accuracy": 0.5, "eval_accuracy_low": 0.4, "eval_accuracy_high": 0.6}
    lines.on_log(None, state, None, measured)
    lines.on_log(None, state, None, {"train_runtime": 1.0})
    assert stream.getvalue().splitlines() == [
        "step 110/1,100, loss 1.2500, 1,000 tokens/s, 0:33:00 left",
        "step 110/1,100, held-out loss 1.5000",
        "step 110/1,100, accuracy 50.0% (40.0% to 60.0%)",
    ]


def test_start_up_and_first_step_are_told_from_the_steady_rate(monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    made = SimpleNamespace(step_tokens={})
    watch = callbacks.Stopwatch(made, started=990.0)
    args = SimpleNamespace(device=SimpleNamespace(type="cpu"))
    state = SimpleNamespace(global_step=5, max_steps=17)  # a resumed run: twelve steps, four warm
    watch.on_train_begin(args, state, None)

    def step(seconds: float, tokens: int = 100) -> None:
        watch.on_step_begin(args, state, None)
        now[0] += seconds
        made.step_tokens[state.global_step] = tokens
        state.global_step += 1
        watch.on_step_end(args, state, None)

    step(30.0)
    for _ in range(4):
        step(2.0)  # the last one counts
    step(3.0)
    watch.on_log(args, state, None, {"loss": 1.0})
    made.step_tokens = {}
    step(5.0)
    watch.on_save(args, state, None)  # so this step does not
    now[0] += 100.0
    step(1.0, tokens=50)
    watch.on_log(args, state, None, {"loss": 1.0})
    step(7.0)
    watch.on_log(args, state, None, {"eval_accuracy": 0.5})
    speed = watch.speed()
    assert (speed.startup_seconds, speed.first_step_seconds) == (10.0, 30.0)
    assert (speed.steady_steps, speed.steady_seconds, speed.steady_tokens) == (3, 6.0, 250)
    assert speed.tokens_per_second == pytest.approx(250 / 6)
