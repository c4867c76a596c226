"""One fine-tuning run, from the locked folder to the finished model.

Everything that SFT, DPO and GRPO have in common is here. What differs is an `Algorithm`: which keys
it has, what it trains on, and which of TRL's trainers it makes.
"""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sft import attention, checkpoints, checks
from sft.config import TuningData
from sft.embeddings import add_rows
from sft.finish import finish
from sft.model import (
    check_vocabulary,
    load_tokenizer,
    loading,
    local_folder,
    set_stop,
    tokenizer_hash,
)
from sft.settings import Settings
from tinymathreason import phases
from tinymathreason.files import locked
from tinymathreason.provenance import model_hash
from tinymathreason.records.tuning import Tuned

if TYPE_CHECKING:
    from evaluation.problems import NumericProblem


@dataclass(frozen=True)
class Examples:
    """What an algorithm trains on."""

    train: Any
    """The training set, as TRL's trainer takes it."""
    fingerprint: dict[str, str]
    """SHA-256 of the examples, by name; a run continues only with the same examples."""
    record: dict[str, Any]
    """What the run's record says of the examples; their counts are under ``counts``."""
    evaluation: Any = None
    """The held-out set, if there is one."""
    problems: Sequence["NumericProblem"] = ()
    """Held-out problems, for an accuracy that names no task."""


@dataclass(frozen=True)
class Session[D: TuningData]:
    """A run in progress, as an algorithm sees it."""

    settings: Settings[D]
    tokenizer: Any
    """The tokenizer of the model that the run starts from, with the run's chat template."""
    resources: contextlib.ExitStack
    """Closed when the run ends."""
    started: float
    """The monotonic time at which the run began."""

    def make_trainer(
        self, kind: Any, examples: Examples, policy: Any = None, **arguments: Any
    ) -> Any:
        """TRL's trainer ``kind`` for the settings, with our callbacks.

        ``policy`` is the loaded model; by default the trainer loads it. ``arguments`` are those
        that only this trainer has.
        """
        from trl import get_peft_config, get_quantization_config

        from sft.callbacks import AccuracyCallback, Stopwatch, show_progress

        training, model = self.settings.training, self.settings.model
        with loading(model.model_name_or_path):
            trainer = kind(
                model=model.model_name_or_path if policy is None else policy,
                args=training,
                train_dataset=examples.train,
                eval_dataset=examples.evaluation,
                processing_class=self.tokenizer,
                quantization_config=get_quantization_config(model) if policy is None else None,
                peft_config=get_peft_config(model),
                **arguments,
            )
        if self.tokenizer.new_tokens:
            add_rows(trainer.model, self.tokenizer.new_tokens)
            if training.distributed_state.is_main_process:
                new = self.tokenizer.convert_ids_to_tokens(self.tokenizer.new_tokens)
                print(f"new tokens: {', '.join(new)}; their rows are the mean of the others")
        rows = trainer.model.get_input_embeddings().num_embeddings
        unused = check_vocabulary(self.tokenizer, rows)
        if unused and training.distributed_state.is_main_process:
            print(f"{unused} rows of the embedding belong to no token and stay unused")
        set_stop(trainer.model, self.tokenizer)
        show_progress(trainer)
        trainer.stopwatch = Stopwatch(trainer, self.started)
        trainer.add_callback(trainer.stopwatch)
        accuracy = self.settings.data.accuracy
        if accuracy is not None:
            problems = examples.problems
            trainer.add_callback(AccuracyCallback(trainer, self.tokenizer, accuracy, problems))
        return trainer


class Algorithm[D: TuningData](ABC):
    """What differs between SFT, DPO and GRPO. An instance serves one run."""

    record_class: ClassVar[type[Tuned]]
    """The record in the model's folder; its ``kind`` is the algorithm's name and the file's."""
    data_class: ClassVar[type[TuningData]]
    """The dataclass of the project's own keys, D."""
    trl_config: ClassVar[str]
    """Name of TRL's configuration class."""

    @abstractmethod
    def check(self, settings: Settings[D]) -> None:
        """Raise `InputError` for options that would break the run, before any slow work."""

    @abstractmethod
    def load(self, session: Session[D]) -> Examples:
        """The examples; they are prepared first when they are missing or stale.

        Every process calls this; what only one may do is under ``main_process_first``.
        """

    @abstractmethod
    def make_trainer(self, session: Session[D], examples: Examples) -> Any:
        """The trainer of `Session.make_trainer`, with `WholeCheckpoints` mixed in.

        ``settings.training.model_init_kwargs`` has the options with which to load the model.
        """

    def record(self) -> dict[str, Any]:
        """What the record says besides `Examples.record`; called when the training has ended."""
        return {}

    @abstractmethod
    def summary(self, record: Any) -> str:
        """Text for a user from the counts of a ``record_class``."""


def train[D: TuningData](algorithm: Algorithm[D], settings: Settings[D]) -> Tuned | None:
    """Train, write ``output_dir/model`` and return its record; an interrupted run continues.

    The folder holds the model with any adapter merged, its tokenizer with the chat template, a
    generation configuration that stops at the end of an answer, the curves and the record. It
    appears only when it is complete. In a distributed run every process calls this; the main one
    writes, and the others return None. Prepare the examples beforehand then, because the other
    processes wait for them half an hour at most.

    Raises `InputError` for options and examples that fail a check, for a folder that holds another
    run or in which another process is training, and for a full disk, which leaves the last
    checkpoint intact.
    """
    from sft.callbacks import accuracy_hash

    started = time.monotonic()
    checks.check_settings(settings)
    algorithm.check(settings)
    training, model, output = settings.training, settings.model, settings.output
    state = training.distributed_state
    with contextlib.ExitStack() as resources:
        if state.is_main_process:
            resources.enter_context(locked(output, "training"))
        checkpoints.check_owner(output, settings.inputs)
        tokenizer = load_tokenizer(
            model.model_name_or_path, settings.data.chat_template, model.model_revision
        )
        checks.check_new_tokens(settings, tokenizer)
        session = Session(settings, tokenizer, resources, started)
        examples = algorithm.load(session)
        training.model_init_kwargs = {
            "revision": model.model_revision,
            "attn_implementation": attention.requested(model),
            "dtype": model.dtype,
            "use_safetensors": True,
            **(training.model_init_kwargs or {}),
        }
        trainer = algorithm.make_trainer(session, examples)
        identity: dict[str, Any] = {}
        if state.is_main_process:
            start = local_folder(model.model_name_or_path, model.model_revision)
            identity = {
                # A snapshot of the hub is named by its commit.
                "base": model_hash(start)
                if Path(model.model_name_or_path).is_dir()
                else start.name,
                "data": examples.fingerprint,
                "tokenizer": tokenizer_hash(tokenizer),
                "processes": state.num_processes,
                "accuracy": None,
                **accuracy_hash(trainer),
            }
        checkpoints.train(trainer, output, settings.inputs | identity, state)
        fields = {**identity, **examples.record, **algorithm.record()}
        if state.is_main_process:
            fields["phases"] = phases.of_model(start)
        kind = algorithm.record_class
        kept = settings.data.keep_adapter
        return finish(trainer, tokenizer, model, output, kind, fields, started, kept)
