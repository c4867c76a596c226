"""The tokenizer stage: train a tokenizer on a sample of the sources, or copy an existing one."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from data_prep import encoding, tokenizer
from data_prep.clean import is_held_out
from data_prep.progress import Progress
from data_prep.stages import artifacts
from data_prep.stages.step import Documents, Step, running, stored_documents
from data_prep.work import Task, Work
from tinymathreason.files import new_directory, write_json

PROOF_BYTES = 300_000
"""UTF-8 bytes of text on which the fast encoder is compared with the tokenizer itself."""


class TrainTokenizer(Step):
    """Train the tokenizer on the remaining documents, or copy the one that the recipe names.

    Then find how documents become token ids.
    """

    name = "tokenizer"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write the tokenizer's folder and the encoding; yields no documents."""
        settings, folder = self.work.recipe.tokenizer, self.work.path(artifacts.TOKENIZER).parent
        total = PROOF_BYTES + (settings.train.sample_bytes if settings.train else 0)
        with running(self.work, "tokenizer", rank, total) as progress:
            with new_directory(folder, replace=True) as aside:
                if settings.path is not None:
                    tokenizer.copy(settings.path, aside)
                elif settings.train is not None:
                    texts = sample(self.work, settings.train.sample_bytes, progress)
                    tokenizer.save(tokenizer.train(texts, settings.train.vocab_size), aside)
            # The folder has no config.json, which may name the end of a text.
            chosen = encoding.find(
                settings.path or folder, settings.end_of_text, tokenizer.load(folder)
            )
            texts = sample(self.work, PROOF_BYTES, progress)
            chosen = encoding.proven(folder, chosen, list(texts))
            write_json(self.work.path(artifacts.ENCODING), chosen)
        yield from ()


def sample(work: Work, sample_bytes: int, progress: Progress) -> Iterator[str]:
    """Training documents of every source, in bytes in proportion to its weight.

    Every task of a source gives an equal part, so that the end of a crawl counts as much as its
    beginning.
    """
    for name, share in work.recipe.shares.items():
        tasks = work.tasks_of(name)
        left = sample_bytes * share
        for number, task in enumerate(tasks):
            # What a small task lacks is taken from the later ones.
            wanted = left / (len(tasks) - number)
            for text in _training_texts(work, task):
                size = len(text.encode("utf-8"))
                progress.add(1, size)
                wanted -= size
                left -= size
                yield text
                if wanted <= 0:
                    break


def _training_texts(work: Work, task: Task) -> Iterator[str]:
    recipe = work.recipe
    decisions = np.load(work.path(artifacts.DECISIONS, part=task.number))
    rejected = set(decisions["row"].tolist())
    row = 0
    for batch in stored_documents(work, task.number).iter_batches(columns=["text"], batch_size=256):
        for text in batch.column("text").to_pylist():
            if row not in rejected and not is_held_out(text, recipe.eval_fraction, recipe.seed):
                yield text
            row += 1
