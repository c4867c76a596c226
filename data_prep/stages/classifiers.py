"""The classifiers stage: train each classifier of the recipe, unless it was trained before.

A trained classifier is kept beside the mixtures, under the hash of what decides it. So another
recipe with the same examples takes the same weights, and no machine's rounding decides twice.
"""

import dataclasses
import hashlib
import json
import shutil
from typing import Any

from data_prep import inputs
from data_prep.classifier import FORM, Classifier, quality, train
from data_prep.clean import is_held_out, normalise
from data_prep.progress import Progress
from data_prep.readers import read
from data_prep.recipe import ClassifierTraining, ExampleTexts, Source
from data_prep.stages import artifacts
from data_prep.stages.step import Documents, Step, running
from data_prep.work import Work
from tinymathreason.cli import InputError
from tinymathreason.files import new_file
from tinymathreason.listing import list_files
from tinymathreason.provenance import versions

HELD_OUT = 0.2
"""Share of the examples that measure the classifier; the others train it."""
LIBRARIES = ("numpy", "scikit-learn")
"""Whose versions may decide a weight."""


class TrainClassifier(Step):
    """Train one classifier, or take the one that was trained on the same examples."""

    name = "classifier"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write the weights; yields no documents."""
        work = self.work
        name, training = list(work.recipe.classifiers.items())[rank]
        key = identity(training, work.recipe.seed)
        kept = work.recipe.output_dir.parent / "classifiers" / f"{name}-{key[:16]}.safetensors"
        with running(work, "classifiers", rank, _expected(training)) as progress:
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                trained(name, training, work.recipe.seed, progress).save(kept)
            Classifier.load(kept)
            with new_file(work.path(artifacts.CLASSIFIERS, rank)) as aside:
                shutil.copyfile(kept, aside)
        yield from ()


def identity(training: ClassifierTraining, seed: int) -> str:
    """SHA-256 of what decides a classifier: its examples and their files, seed and versions."""
    files = inputs.described(inputs.of_classifier("", training))
    libraries = versions()
    return hashlib.sha256(
        json.dumps(
            [
                FORM,
                HELD_OUT,
                dataclasses.asdict(training),
                files,
                seed,
                {name: libraries.get(name) for name in LIBRARIES},
            ]
        ).encode()
    ).hexdigest()


def trained(name: str, training: ClassifierTraining, seed: int, progress: Progress) -> Classifier:
    """A classifier trained on four fifths of the examples, and measured on the others.

    A text is held out by its hash. Raises `InputError` for too few examples, and for rows that
    cannot be read.
    """
    trained_on: dict[str, list[str]] = {"positives": [], "negatives": []}
    held_out: dict[str, list[str]] = {"positives": [], "negatives": []}
    for kind in trained_on:
        for number, examples in enumerate(getattr(training, kind)):
            for text in _texts(f"classifiers.{name}.{kind}.{number}", examples, progress):
                (held_out if is_held_out(text, HELD_OUT, seed) else trained_on)[kind].append(text)
        if not trained_on[kind]:
            raise InputError(f"classifiers.{name}.{kind}: no text is left to train on")
    classifier = train(**trained_on, seed=seed)
    figures = {
        **{kind: len(texts) for kind, texts in trained_on.items()},
        **{f"held_out_{kind}": len(texts) for kind, texts in held_out.items()},
        **quality(classifier, **held_out),
    }
    return dataclasses.replace(classifier, training=figures)


def _texts(where: str, examples: ExampleTexts, progress: Progress) -> list[str]:
    """The normalised texts of a set of examples."""
    source = Source(
        format=examples.format,
        path=examples.path,
        weight=1,
        text_field=examples.text_field,
        documents=examples.documents,
    )
    files = [file.path for file in list_files(f"{where}.path", examples.path)]
    texts = []
    for row in read(source, 0, files):
        if row.reason is not None:
            raise row.error
        texts.append(normalise(row.values[0]))
        progress.add(1, len(texts[-1]), done=1)
    return texts


def _expected(training: ClassifierTraining) -> int:
    return sum(each.documents for each in (*training.positives, *training.negatives))


def load(work: Work, name: str) -> Classifier:
    """One of the recipe's classifiers, which this stage has written."""
    number = list(work.recipe.classifiers).index(name)
    return Classifier.load(work.path(artifacts.CLASSIFIERS, number))
