"""Callbacks of the trainers: they measure accuracy and speed, and show the progress."""

import copy
import datetime
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from evaluation import tasks
from evaluation.generate import Generator
from evaluation.interval import wilson
from evaluation.problems import NumericProblem
from sft import attention
from sft.config import Accuracy
from sft.speed import synchronise
from tinymathreason.answers import read_final, same_number
from tinymathreason.cli import InputError
from tinymathreason.records.tuning import Speed


class AccuracyCallback(TrainerCallback):  # type: ignore[misc]
    """Logs ``eval_accuracy`` with its 95 % interval, ``eval_accuracy_low`` and ``_high``.

    The answers are greedy and draw no random numbers, so a run ends with the same weights with or
    without it. ``held_out`` are the problems to use when ``accuracy`` names no task. Raises
    `InputError` for an unknown task, when there are no problems, and for sharded weights.
    """

    def __init__(
        self,
        trainer: Any,
        tokenizer: Any,
        accuracy: Accuracy,
        held_out: Sequence[NumericProblem] = (),
    ) -> None:
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise InputError(
                "accuracy: one process cannot answer with sharded weights; leave the key out, "
                "and measure the finished model: python -m evaluation.run"
            )
        self._trainer, self._accuracy = trainer, accuracy
        if accuracy.task is not None:
            self._problems = tasks.load(accuracy.task, accuracy.data, accuracy.problems)
        elif not held_out:
            raise InputError("accuracy: no held-out example has a number for answer; name a task")
        else:
            self._problems = list(held_out[: accuracy.problems])
        described = json.dumps([(p.question, p.answer) for p in self._problems])
        self.problems_hash = hashlib.sha256(described.encode()).hexdigest()
        self._tokenizer = copy.deepcopy(tokenizer)
        self._tokenizer.padding_side = "left"

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure if it is due; the other processes wait at their next exchange."""
        due = state.global_step % self._accuracy.every == 0
        if state.is_world_process_zero and (due or state.global_step >= state.max_steps):
            loss_is_due = control.should_log
            self.measure()
            # After any log, the Trainer considers the regular log done; it is still due.
            control.should_log = loss_is_due

    def measure(self) -> None:
        """Answer the problems and log the share of right answers."""
        model = self._trainer.model
        training = model.training
        model.eval()
        generator = Generator.of(model, self._tokenizer, "chat")
        with attention.plain(model), self._trainer.accelerator.autocast():
            completions = generator.answer(
                [problem.question for problem in self._problems],
                self._accuracy.max_new_tokens,
                self._accuracy.batch_size,
                quiet=True,
            )
        correct = sum(
            same_number(read_final(completion), problem.answer)
            for completion, problem in zip(completions, self._problems, strict=True)
        )
        n = len(self._problems)
        low, high = wilson(correct, n)
        # Log before `train`: TRL logs the means of the current mode, then resets them.
        self._trainer.log(
            {
                "eval_accuracy": correct / n,
                "eval_accuracy_low": low,
                "eval_accuracy_high": high,
                "eval_accuracy_n": n,
            }
        )
        model.train(training)


def accuracy_hash(trainer: Any) -> dict[str, str]:
    """SHA-256 of the problems that a trainer measures the accuracy on; empty if it measures none.

    Accuracies on different problems do not belong on one curve, so such runs are different runs.
    """
    callbacks = trainer.callback_handler.callbacks
    hashes = [c.problems_hash for c in callbacks if isinstance(c, AccuracyCallback)]
    return {"accuracy": hashes[0]} if hashes else {}


WARM = 10
"""First steps that do not count, in which kernels are compiled and memory is allocated."""


def warm_steps(steps: int) -> int:
    """The number of first steps that do not count, among ``steps`` of this start."""
    return min(WARM, steps // 3)


class Stopwatch(TrainerCallback):  # type: ignore[misc]
    """Measures start-up, first step and steady rate of a ``trainer``.

    ``started`` is the monotonic time at which the run began. The steady rate is that of the time
    between two logs of the loss, which wait for the device anyway. Time in which something was
    evaluated or saved does not count, nor do the first steps.
    """

    def __init__(self, trainer: Any, started: float) -> None:
        self._trainer, self._started = trainer, started
        self._startup = self._first = self._seconds = 0.0
        self._steps = self._tokens = 0
        self._window: tuple[float, int] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the time of the start-up; a resumed run begins at a later step."""
        self._began, self._from = time.monotonic(), state.global_step
        self._startup = self._began - self._started
        self._warm = warm_steps(state.max_steps - state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin a window when the first steps are over, or something has interrupted the last."""
        if self._window is None and state.global_step - self._from >= self._warm > 0:
            synchronise(args.device)
            self._window = time.monotonic(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the time of the first step."""
        if state.global_step == self._from + 1:
            synchronise(args.device)
            self._first = time.monotonic() - self._began

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any
    ) -> None:
        """Count the window that ends with a log of the loss."""
        if self._window is None:
            return
        (began, step), now = self._window, time.monotonic()
        self._window = None
        if "loss" in logs:
            self._seconds += now - began
            self._steps += state.global_step - step
            counted = self._trainer.step_tokens.items()
            self._tokens += sum(tokens for number, tokens in counted if number >= step)
            self._window = now, state.global_step

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Discard the window that an evaluation interrupted."""
        self._window = None

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Discard the window that a checkpoint interrupted."""
        self._window = None

    def speed(self) -> Speed:
        """What was measured."""
        return Speed(
            startup_seconds=round(self._startup, 3),
            first_step_seconds=round(self._first, 3),
            steady_steps=self._steps,
            steady_seconds=round(self._seconds, 3),
            steady_tokens=self._tokens,
        )


WORDS = (("loss", "loss"), ("reward", "reward"), ("eval_loss", "held-out loss"))
"""The values of a log that `Lines` prints, with their names in the line."""


class Lines(TrainerCallback):  # type: ignore[misc]
    """Prints progress, losses and speed at every logging step, for output that is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember the time and the step: a resumed run measures its speed from here."""
        self._began, self._step = time.monotonic(), state.global_step
        self._tokens = state.num_input_tokens_seen

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any
    ) -> None:
        """Print the line, on the main process."""
        if not state.is_world_process_zero:
            return
        parts = [f"step {state.global_step:,}/{state.max_steps:,}"]
        for key, words in WORDS:
            if key in logs:
                parts.append(f"{words} {logs[key]:.4f}")
        if "eval_accuracy" in logs:
            low, high = logs["eval_accuracy_low"], logs["eval_accuracy_high"]
            parts.append(f"accuracy {logs['eval_accuracy']:.1%} ({low:.1%} to {high:.1%})")
        seconds, steps = time.monotonic() - self._began, state.global_step - self._step
        if "loss" in logs and steps:
            rate = (state.num_input_tokens_seen - self._tokens) / seconds
            left = round((state.max_steps - state.global_step) * seconds / steps)
            parts += [f"{rate:,.0f} tokens/s", f"{datetime.timedelta(seconds=left)} left"]
        if len(parts) > 1:
            print(", ".join(parts), file=self._stream, flush=True)


def show_progress(trainer: Any) -> None:
    """Show a progress bar on a terminal; elsewhere, or with ``disable_tqdm``, print `Lines`."""
    trainer.remove_callback(PrinterCallback)
    if trainer.args.disable_tqdm or not sys.stderr.isatty():
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(Lines(sys.stderr))
