"""The tokenizer stage: train on a sample of the sources in proportion to their weights, or copy."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from data_prep import tokenizer
from data_prep.clean import is_held_out
from data_prep.progress import Progress
from data_prep.stages.step import Documents, Step, running, stored
from data_prep.work import Task, Work
from tinymathreason.files import new_directory


class TrainTokenizer(Step):
    """Train the tokenizer on what is left of the sources, or copy the one that the recipe names."""

    name = "tokenizer"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write the tokenizer's folder; yields no documents."""
        wanted, folder = self.work.recipe.tokenizer, self.work.folder / "tokenizer"
        total = wanted.train.sample_bytes if wanted.train else 0
        with (
            running(self.work, "tokenizer", rank, total) as progress,
            new_directory(folder, replace=True) as aside,
        ):
            if wanted.path is not None:
                tokenizer.save(tokenizer.load(wanted.path), aside)
            elif wanted.train is not None:
                texts = sample(self.work, wanted.train.sample_bytes, progress)
                tokenizer.save(tokenizer.train(texts, wanted.train.vocab_size), aside)
        yield from ()


def sample(work: Work, sample_bytes: int, progress: Progress) -> Iterator[str]:
    """Training documents of every source, in bytes in proportion to its weight.

    Each task gives its share of its source's, so that a crawl's last year counts like its first.
    """
    for name, share in work.recipe.shares.items():
        tasks = work.of(name)
        left = sample_bytes * share
        for number, task in enumerate(tasks):
            # What a small task could not give, the later ones do.
            wanted = left / (len(tasks) - number)
            for text in _texts(work, task):
                size = len(text.encode("utf-8"))
                progress.add(1, size)
                wanted -= size
                left -= size
                yield text
                if wanted <= 0:
                    break


def _texts(work: Work, task: Task) -> Iterator[str]:
    recipe = work.recipe
    dropped = set(np.load(work.path("decisions", task.number, ".npy"))["row"].tolist())
    row = 0
    for batch in stored(work, task.number).iter_batches(columns=["text"], batch_size=256):
        for text in batch.column("text").to_pylist():
            if row not in dropped and not is_held_out(text, recipe.eval_fraction, recipe.seed):
                yield text
            row += 1
