"""Command: fine-tune a model on chat examples with TRL's SFTTrainer.

python -m sft.run --config sft/configs/NAME.yaml [--learning_rate 1e-5 ...]
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sft import checks, command
from sft.checkpoints import WholeCheckpoints
from sft.config import SftData
from sft.session import Algorithm, Examples, Session
from sft.speed import CountsLater
from tinymathreason import cli
from tinymathreason.chat import Chat
from tinymathreason.provenance import file_hash
from tinymathreason.records import tuning

if TYPE_CHECKING:
    from sft.settings import Settings


class Sft(Algorithm[SftData]):
    """Supervised fine-tuning: the loss of the assistant's tokens in prepared examples."""

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
        """TRL's SFTTrainer, which takes our labels as they are."""
        from trl import SFTTrainer

        class Trainer(CountsLater, WholeCheckpoints, SFTTrainer):  # type: ignore[misc]
            pass

        training = session.settings.training
        # Our labels are the mask; TRL's own ways to make one need the texts.
        training.assistant_only_loss = False
        training.completion_only_loss = False
        training.include_num_input_tokens_seen = "non_padding"
        trainer = session.make_trainer(Trainer, examples)
        if training.distributed_state.is_main_process:
            check_rows(trainer, session.tokenizer)
        return trainer

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
    if trainer.args.packing:
        checks.check_isolation(trainer)
    colour = sys.stdout.isatty()
    print(f"A training row; the loss sees what is {'green' if colour else 'in [[ ]]'}:")
    print(checks.show(tokenizer, *conversations[0], colour), flush=True)


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    description = "Fine-tune a model on chat examples with TRL's SFTTrainer."
    command.run(Sft(), argv, "sft.run", description, "sources.gsm8k.path=FILE")


if __name__ == "__main__":
    cli.run(main)
