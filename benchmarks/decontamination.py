"""Command: measure the share of reworded benchmark questions that decontamination finds.

python -m benchmarks.decontamination --data DIR [--kinds KIND ...] [--questions N] [--documents N]

Problems of GSM8K's test split are reworded by `tinymathreason.variants` and put into the middle of
real text. Our rule and those of other tools judge the same texts, and two kinds of clean ones: the
problems of the training split, and the sources' documents. All index the whole test split. Prints a
line of JSON for each kind, alone and with its solution, and for the clean texts.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.decontamination_rules import (
    DecontaminationRule,
    datatrove,
    gpt3,
    ours,
    strict,
    tulu,
)
from tinymathreason import cli
from tinymathreason.answers import canonical
from tinymathreason.variants import KINDS, OTHER_ANSWER, variants

AROUND = 2000
"""Characters of real text around a problem."""
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
VERBATIM = "verbatim"
CLEAN = "clean"


def plain(solution: str) -> str:
    """A solution without calculator annotations, as other datasets have it."""
    return canonical(solution) or ""


def within(text: str, documents: Sequence[str], source: random.Random) -> str:
    """A text between two halves of a passage of `AROUND` characters of a real document."""
    document = source.choice(documents)
    start = source.randrange(max(1, len(document) - AROUND))
    passage = document[start : start + AROUND]
    middle = len(passage) // 2
    return f"{passage[:middle]}\n{text}\n{passage[middle:]}"


def planted(
    chosen: Sequence[tuple[str, str]],
    documents: Sequence[str],
    source: random.Random,
    kinds: Sequence[str] = (VERBATIM, *KINDS),
) -> Iterator[tuple[str, str, list[str]]]:
    """Each kind, ``alone`` or ``solved``, and texts with a problem of that kind."""
    texts: dict[tuple[str, str], list[str]] = {}
    wanted = [kind for kind in kinds if kind in KINDS]
    for question, solution in chosen:
        made = [(v.kind, v.question, v.solution) for v in variants(question, solution, 0, wanted)]
        for kind, text, steps in [(VERBATIM, question, solution), *made]:
            if kind not in kinds:
                continue
            if text:
                texts.setdefault((kind, "alone"), []).append(text)
            if steps:
                both = f"{text}\n{plain(steps)}".lstrip()
                texts.setdefault((kind, "solved"), []).append(both)
    for (kind, form), of_kind in texts.items():
        yield kind, form, [within(text, documents, source) for text in of_kind]


def measured(rules: Sequence[DecontaminationRule], texts: Sequence[str]) -> dict[str, Any]:
    """The number of texts, those that each rule finds, and the share by threshold."""
    line: dict[str, Any] = {"texts": len(texts)}
    for rule in rules:
        before = time.process_time()
        scores = [rule.score(text) for text in texts]
        line[f"{rule.name}_found"] = sum(score >= rule.threshold for score in scores)
        if rule.threshold < 1:
            line[f"{rule.name}_curve"] = {
                str(t): round(sum(score >= t for score in scores) / len(texts), 5)
                for t in THRESHOLDS
            }
        line[f"{rule.name}_cpu_seconds"] = round(time.process_time() - before, 2)
    return line


def run(data: Path, kinds: Sequence[str], questions: int, most: int) -> Iterator[dict[str, Any]]:
    """A line for each kind and form, then for the clean texts."""
    source = random.Random(0)
    test = corpus.problems(data, "test")
    solved = [(question, plain(solution)) for question, solution in test]
    by_source = corpus.texts(data)
    clean = {name: source.sample(texts, min(most, len(texts))) for name, texts in by_source.items()}
    documents = [text for texts in clean.values() for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        rules = [
            ours(solved),
            strict(solved),
            gpt3(solved),
            datatrove(solved, Path(folder) / "default", False),
            datatrove(solved, Path(folder) / "questions", True),
            tulu(solved),
        ]
        chosen = source.sample(test, min(questions, len(test)))
        for kind, form, texts in planted(chosen, documents, source, kinds):
            same = kind not in OTHER_ANSWER
            yield {"kind": kind, "form": form, "same_question": same, **measured(rules, texts)}
        if CLEAN not in kinds:
            return
        train = [
            f"{question}\n{plain(steps)}" for question, steps in corpus.problems(data, "train")
        ]
        yield {"clean": "gsm8k train", **measured(rules, train)}
        for name, texts in clean.items():
            yield {"clean": name, **measured(rules, texts)}


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.decontamination",
        description="Measure the share of reworded benchmark questions that are found.",
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of `make realdata`")
    every = (VERBATIM, *KINDS, CLEAN)
    parser.add_argument(
        "--kinds", nargs="+", choices=every, default=every, metavar="KIND", help="of variants"
    )
    parser.add_argument("--questions", type=int, default=400, help="of GSM8K's test split")
    parser.add_argument("--documents", type=int, default=400, help="clean ones of each source")
    arguments = parser.parse_args(argv)
    data = corpus.check_data(arguments.data)
    for line in run(data, arguments.kinds, arguments.questions, arguments.documents):
        print(json.dumps({"benchmark": "decontamination", **line}), flush=True)


if __name__ == "__main__":
    cli.run(main)
