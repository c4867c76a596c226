"""Command: measure what a selection of examples does to a set with many variants of few problems.

python -m benchmarks.selection --data DIR [--problems 200] [--budgets 1000 2000 4000]

Beside GSM8K's training questions stand the variants of some of them, with other numbers, names,
words or order. A random sample has as many of these as the set; a selection should have fewer, and
more different questions.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sft import selection
from sft.config import Selection
from tinymathreason import cli
from tinymathreason.rows import read_columns
from tinymathreason.variants import SKILL_KINDS, variants

SEEDS = 3
"""Variants of each kind of a problem."""
TRAINING = "gsm8k/train.jsonl"
"""GSM8K's training split, in the folder of ``--data``."""


def main(argv: Sequence[str]) -> None:
    """Parse the command line, select, and print a line of JSON for each budget."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.selection", description="Measure what a selection of examples does."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of `make realdata`")
    parser.add_argument("--problems", type=int, default=200, help="problems that have variants")
    parser.add_argument("--budgets", type=int, nargs="+", default=[1000, 2000, 4000])
    arguments = parser.parse_args(argv)
    path = str(arguments.data / TRAINING)
    solved = list(read_columns("data", "jsonl", path, ["question", "answer"]))
    rows = {question: (number, answer) for number, (question, answer) in enumerate(solved)}
    for number, (question, answer) in enumerate(solved[: arguments.problems]):
        for seed in range(SEEDS):
            for variant in variants(question, answer, seed, SKILL_KINDS):
                rows.setdefault(variant.question, (number, variant.solution))
    candidates = np.zeros(len(rows), dtype=selection.CANDIDATE)
    for k, (question, (_, answer)) in enumerate(rows.items()):
        digest, own = selection.text_hash(question + answer), selection.text_hash(question)
        candidates[k] = (digest, own, selection.cluster(question), len(answer), 0)
    problems = np.array([number for number, _ in rows.values()])
    for budget in arguments.budgets:
        chosen, _ = selection.choose(candidates, [""], Selection(examples=budget), 0)
        random = np.random.default_rng(0).permutation(len(rows))[:budget]
        line: dict[str, object] = {"benchmark": "selection", "rows": len(rows), "budget": budget}
        for name, kept in (("all", slice(None)), ("chosen", chosen), ("random", random)):
            some = problems[kept]
            line[f"{name}_with_variants"] = round(float((some < arguments.problems).mean()), 3)
            line[f"{name}_problems"] = len(np.unique(some))
            line[f"{name}_clusters"] = len(np.unique(candidates["cluster"][kept]))
        print(json.dumps(line))


if __name__ == "__main__":
    cli.run(main)
