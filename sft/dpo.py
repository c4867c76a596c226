"""Command: tune a model on pairs of its own right and wrong answers, with TRL's DPOTrainer.

python -m sft.dpo --config sft/configs/NAME.yaml [--learning_rate 1e-6 ...]
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sft import command
from sft.checkpoints import WholeCheckpoints
from sft.config import DpoData
from sft.session import Algorithm, Examples, Session
from sft.speed import CountsLater
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.parsing import parse_json
from tinymathreason.records import tuning

if TYPE_CHECKING:
    from sft.settings import Settings
    from tinymathreason.chat import Chat


class Dpo(Algorithm[DpoData]):
    """Direct preference optimisation on the pairs of `sft.preferences`."""

    record_class = tuning.DpoRecord
    data_class = DpoData
    trl_config = "DPOConfig"

    def check(self, settings: "Settings[DpoData]") -> None:
        """Refuse an option with which a resumed run would differ."""
        if settings.training.sync_ref_model:
            raise InputError(
                "sync_ref_model: a checkpoint has no reference model, so a resumed run would "
                "differ from an uninterrupted one; leave it out"
            )

    def load(self, session: Session[DpoData]) -> Examples:
        """The pairs of `sft.preferences`, as token ids."""
        from datasets import Dataset

        from sft.preferences import MANIFEST, prepare, read_pairs
        from tinymathreason.chat import Chat
        from tinymathreason.records.tuning import Preferences

        settings, tokenizer = session.settings, session.tokenizer
        training, model = settings.training, settings.model
        with training.distributed_state.main_process_first():
            folder = prepare(
                settings.data,
                model.model_name_or_path,
                training.max_length,
                settings.output,
                model.model_revision,
            )
        pairs = read_pairs(folder)
        return Examples(
            Dataset.from_list(rows(Chat(tokenizer, tokenizer.chat_template), pairs)),
            {"pairs": hashlib.sha256(pairs).hexdigest()},
            {"counts": Preferences.load(folder / MANIFEST).counts},
        )

    def make_trainer(self, session: Session[DpoData], examples: Examples) -> Any:
        """TRL's DPOTrainer, which takes our token ids as they are."""
        from trl import DPOTrainer

        class Trainer(CountsLater, WholeCheckpoints, DPOTrainer):  # type: ignore[misc]
            def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
                return dataset  # the rows are token ids

        session.settings.training.include_num_input_tokens_seen = "non_padding"
        return session.make_trainer(Trainer, examples)

    def summary(self, record: Any) -> str:
        """The table of `sft.preferences`."""
        from sft.preferences import summary

        return summary(record.counts)


def rows(chat: "Chat", pairs: bytes) -> list[dict[str, list[int]]]:
    """Rows for TRL's collator from pairs.jsonl: ``prompt_ids``, ``chosen_ids``, ``rejected_ids``.

    Both answers end with the stop token. TRL's own tokenising would append the newline that the
    template puts after it, which a model never generates, and would turn text that looks like a
    control token into one.
    """
    from sft.preferences import PAIRS
    from sft.sampler import tokens

    result = []
    for number, line in enumerate(pairs.splitlines(), start=1):
        pair = parse_json(line, f"{PAIRS}:{number}")
        question = pair["prompt"][0]["content"]
        prompt, chosen = tokens(chat, question, pair["chosen"][0]["content"])
        rejected = tokens(chat, question, pair["rejected"][0]["content"])[1]
        result.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    return result


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    description = "Tune a model on pairs of its own right and wrong answers, with TRL's DPOTrainer."
    command.run(Dpo(), argv, "sft.dpo", description, "sampling.samples=4")


if __name__ == "__main__":
    cli.run(main)
