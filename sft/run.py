"""Command: fine-tune a model on chat examples with TRL's SFTTrainer.

python -m sft.run --config sft/configs/NAME.yaml [--learning_rate 1e-5 ...]
"""

import contextlib
import gc
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sft import attention, checks, command, compiled, isolation, memory
from sft.checkpoints import WholeCheckpoints
from sft.config import SftData
from sft.model import load_config
from sft.session import Algorithm, Examples, Session
from sft.speed import CountsLater, MeasuresLater
from tinymathreason import cli
from tinymathreason.chat import Chat
from tinymathreason.cli import InputError
from tinymathreason.provenance import file_hash
from tinymathreason.records import tuning

if TYPE_CHECKING:
    from sft.settings import Settings


class Sft(Algorithm[SftData]):
    """Supervised fine-tuning: the loss of the assistant's tokens in prepared examples."""

    _config: Any
    """The configuration of the model that the run starts from."""

    record_class = tuning.SftRecord
    data_class = SftData
    trl_config = "SFTConfig"

    def check(self, settings: "Settings[SftData]") -> None:
        """Refuse the ways of packing in which conversations see one another."""
        checks.check_packing(settings.training)

    def load(self, session: Session[SftData]) -> Examples:
        """The examples of `sft.prepare`."""
        from sft import dataset
        from sft.prepare import prepare

        settings = session.settings
        training, model, accuracy = settings.training, settings.model, settings.data.accuracy
        with training.distributed_state.main_process_first():
            folder = prepare(
                settings.data,
                model.model_name_or_path,
                training.max_length,
                settings.output,
                model.model_revision,
            )
        examples, held_out = dataset.load(folder)
        problems = []
        if accuracy is not None and accuracy.task is None:
            problems = dataset.held_out_problems(folder)
        return Examples(
            examples,
            {split: file_hash(folder / f"{split}.parquet") for split in dataset.SPLITS},
            {
                "manifest": file_hash(folder / dataset.MANIFEST),
                "counts": dataset.manifest(folder).sources,
            },
            held_out,
            problems,
        )

    def make_trainer(self, session: Session[SftData], examples: Examples) -> Any:
        """TRL's SFTTrainer, which takes our labels as they are.

        Packed rows are tried on the device. If an attention that was chosen by itself fails there,
        the trainer is made again with the one that transformers chooses.
        """
        import torch

        training, model = session.settings.training, session.settings.model
        # Our labels are the mask; TRL's own ways to make one need the texts.
        training.assistant_only_loss = False
        training.completion_only_loss = False
        training.include_num_input_tokens_seen = "non_padding"
        self._config = load_config(model)
        choice = attention.choose(training, model, self._config)
        trainer = None
        try:
            with contextlib.ExitStack() as serving:
                if choice.name == attention.VARLEN:
                    serving.enter_context(attention.registered())
                trainer = self._trainer(session, examples, choice)
                session.resources.push(serving.pop_all())  # until the run ends
        except (InputError, RuntimeError, ValueError) as error:
            if choice.name != attention.VARLEN:
                raise
            reason = str(error).strip().partition("\n")[0]
            if model.attn_implementation == attention.VARLEN:
                raise InputError(f"attn_implementation: {choice.name}: {reason}") from error
        if trainer is None:
            gc.collect()  # the parts of the first trainer refer to each other
            torch.cuda.empty_cache()
            trainer = self._trainer(session, examples, attention.Choice(None, reason))
        if training.distributed_state.is_main_process:
            check_rows(trainer, session.tokenizer)
        return trainer

    def _trainer(
        self, session: Session[SftData], examples: Examples, choice: attention.Choice
    ) -> Any:
        """The trainer with an implementation of attention; packed rows are tried."""
        from trl import SFTTrainer

        class Trainer(CountsLater, MeasuresLater, WholeCheckpoints, SFTTrainer):  # type: ignore[misc]
            pass

        training, data = session.settings.training, session.settings.data
        main = training.distributed_state.is_main_process
        rows = self._rows(session.settings, choice)
        attention.split(training, rows)
        training.model_init_kwargs["attn_implementation"] = choice.name
        trainer = session.make_trainer(Trainer, examples)
        if not training.packing:
            return trainer
        if main:
            name = trainer.model.config._attn_implementation
            line = f"attention: {name}, {rows} packed rows at once"
            print(f"{line} ({choice.reason})" if choice.reason else line, flush=True)
        if compiled.wanted(data.compile_layers, trainer):
            padding = session.tokenizer.pad_token_id
            trainer.data_collator = compiled.FixedLength(
                trainer.data_collator, rows * training.max_length, padding
            )
            number = compiled.compile_layers(trainer.model)
            if main:
                print(f"torch.compile: {number} layers", flush=True)
        isolation.check_isolation(trainer)
        return trainer

    def _rows(self, settings: "Settings[SftData]", choice: attention.Choice) -> int:
        """Packed rows of a micro-batch: one under a dense mask, else those that fit into memory."""
        training: Any = settings.training
        rows: int = training.per_device_train_batch_size
        if not training.packing:
            return rows
        if choice.name not in attention.SPARSE:
            rows = 1
        if training.device.type != "cuda" or memory.unknown():
            return rows
        state, model = training.distributed_state, settings.model
        sharded = memory.sharded(training)
        whole = not (sharded or model.load_in_4bit or model.load_in_8bit)
        compiles = compiled.decided(settings.data.compile_layers, choice.name, whole)
        needed = memory.estimate(
            self._config, training, model, compiles, state.num_processes, sharded
        )
        free = memory.free(training.device, state.num_processes)
        rows = memory.fit(needed, rows, free)
        if state.is_main_process:
            print(memory.summary(needed, rows, free), flush=True)
        return rows

    def summary(self, record: Any) -> str:
        """The table of `sft.prepare`."""
        from sft.prepare import summary

        return summary(record.counts)


def check_rows(trainer: Any, tokenizer: Any) -> None:
    """Check rows as the trainer collates them, and print one with its mask."""
    chat = Chat(tokenizer, tokenizer.chat_template)
    rows = checks.rows(trainer.train_dataset)
    conversations = list(checks.conversations(trainer.data_collator(rows), tokenizer.pad_token_id))
    for ids, labels in conversations:
        checks.check_conversation(chat, ids, labels)
    colour = sys.stdout.isatty()
    print(f"A training row; the loss sees what is {'green' if colour else 'in [[ ]]'}:")
    print(checks.show(tokenizer, *conversations[0], colour), flush=True)


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    description = "Fine-tune a model on chat examples with TRL's SFTTrainer."
    command.run(Sft(), argv, "sft.run", description, "sources.gsm8k.path=FILE")


if __name__ == "__main__":
    cli.run(main)
