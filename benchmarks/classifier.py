"""Command: measure the classifier of mathematics on pages that it was not trained on.

python -m benchmarks.classifier --data DIR

Files are held out in turn, never single pages, since neighbouring pages of a book are alike. The
peer is scikit-learn's own hashing of words and pairs, under the same regression. Prints a line of
JSON for each classifier and threshold, with the share of each kind of page at or above it.
"""

import argparse
import importlib.metadata
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus
from tinymathreason import cli
from tinymathreason.cli import InputError

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
POSITIVE = "open-web-math"
"""The source whose pages are the positives; a classifier is trained on all of its files but one."""
NEGATIVES = ("fineweb-edu", "algebraic-stack")
"""The sources whose pages are the negatives; likewise."""
UNSEEN = ("arxiv", "gsm8k", "packages")
"""Kinds of pages that no classifier is trained on: mathematics twice, then prose about software."""
SHORTEST = 200
"""Characters of the shortest description of a package."""
PEER_WORDS = r"(?u)\b\w+\b"

Score = Callable[[str], float]


def pages(data: Path) -> dict[str, list[list[str]]]:
    """The pages of each kind, file by file."""
    from data_prep.clean import normalise

    found = {
        name: [corpus.normalised(str(path), kind, path) for path in sorted(data.glob(files))]
        for name, (kind, files) in corpus.SOURCES.items()
    }
    questions = data / corpus.QUESTIONS
    found["gsm8k"] = [corpus.normalised(str(questions), "jsonl", questions, "question")]
    texts = {
        distribution.name: normalise(str(distribution.metadata.json.get("description", "")))
        for distribution in importlib.metadata.distributions()
    }
    found["packages"] = [[texts[k] for k in sorted(texts) if len(texts[k]) >= SHORTEST]]
    return found


def ours(positives: Sequence[str], negatives: Sequence[str]) -> Score:
    """The project's classifier."""
    from data_prep.classifier import train

    return train(positives, negatives).probability


def peer(positives: Sequence[str], negatives: Sequence[str]) -> Score:
    """scikit-learn's HashingVectorizer with words and pairs, and the same regression."""
    from sklearn.feature_extraction.text import HashingVectorizer

    from data_prep.classifier import BITS, regression

    hashing = HashingVectorizer(
        ngram_range=(1, 2), n_features=1 << BITS, alternate_sign=False, token_pattern=PEER_WORDS
    )
    model = regression()
    model.fit(
        hashing.transform([*positives, *negatives]), [1] * len(positives) + [0] * len(negatives)
    )
    return lambda text: float(model.predict_proba(hashing.transform([text]))[0, 1])


CLASSIFIERS: dict[str, Callable[[Sequence[str], Sequence[str]], Score]] = {
    "ours": ours,
    "scikit-learn": peer,
}


def measure(
    found: dict[str, list[list[str]]], fit: Callable[[Sequence[str], Sequence[str]], Score]
) -> Iterator[dict[str, Any]]:
    """A line for each threshold.

    In each of as many rounds as the positives have files, one file of each trained kind is held
    out. Held-out pages are counted in every round in which they are, unseen kinds in the first.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    training = judging = 0.0
    judged = size = 0
    for out in range(len(found[POSITIVE])):
        train: dict[str, list[str]] = {}
        held_out: dict[str, list[str]] = {}
        for name in (POSITIVE, *NEGATIVES):
            files = found[name]
            chosen = out % len(files)
            held_out[name] = files[chosen]
            train[name] = [t for k, file in enumerate(files) if k != chosen for t in file]
        before = time.process_time()
        score = fit(train[POSITIVE], [text for name in NEGATIVES for text in train[name]])
        training += time.process_time() - before
        if not out:
            held_out |= {name: [t for file in found[name] for t in file] for name in UNSEEN}
        for name, texts in held_out.items():
            before = time.process_time()
            scores[name] += [score(text) for text in texts]
            judging += time.process_time() - before
            judged += len(texts)
            size += sum(len(text.encode("utf-8")) for text in texts)
    for least in THRESHOLDS:
        share = {n: sum(s >= least for s in each) / len(each) for n, each in scores.items()}
        negatives = [s for name in NEGATIVES for s in scores[name]]
        alarms = sum(s >= least for s in negatives) / len(negatives)
        recall = share[POSITIVE]
        yield {
            "least": least,
            "precision": round(recall / (recall + alarms), 4) if recall else None,
            "recall": round(recall, 4),
            "share_at_or_above": {name: round(value, 4) for name, value in share.items()},
            "pages": {name: len(each) for name, each in scores.items()},
            "training_cpu_seconds": round(training / len(found[POSITIVE]), 2),
            "documents_per_cpu_second": round(judged / judging),
            "mb_per_cpu_second": round(size / 1e6 / judging, 1),
        }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, train, judge and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.classifier",
        description="Measure the classifier of mathematics on held-out pages.",
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of `make realdata`")
    arguments = parser.parse_args(argv)
    found = pages(corpus.check_data(arguments.data))
    for name in (POSITIVE, *NEGATIVES):
        if len(found[name]) < 2:
            raise InputError(f"--data: {name} has one file; two are needed to hold one out")
    for classifier, fit in CLASSIFIERS.items():
        for line in measure(found, fit):
            figures = {"benchmark": "classifier", "classifier": classifier, **line}
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    cli.run(main)
