"""Command: count what every filter would reject of each source, and measure its speed.

python -m benchmarks.filters --data DIR

Each filter is applied alone to every document, with its default settings; datatrove's four split
words by regular expressions, as in a build. Prints a line of JSON for each source and filter.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus
from tinymathreason import cli

EXAMPLES = 2
"""Rejected documents that are shown..."""
SHOWN = 80
"""... with this many characters each."""


def measure(documents: list[str], name: str) -> dict[str, Any]:
    """How many documents a filter rejects, with the reasons and some examples."""
    from data_prep.filters import make

    reasons: Counter[str] = Counter()
    examples: list[str] = []
    judge = make(name)
    judge(documents[0])  # the first call initialises the filter, which is not measured
    before = time.process_time()
    for text in documents:
        reason = judge(text)
        if reason is not None:
            reasons[reason] += 1
            if len(examples) < EXAMPLES:
                examples.append(text[:SHOWN])
    seconds = time.process_time() - before
    size = sum(len(text.encode("utf-8")) for text in documents)
    return {
        "documents": len(documents),
        "rejected": reasons.total(),
        "share": round(reasons.total() / len(documents), 4),
        "reasons": dict(reasons.most_common()),
        "mb_per_cpu_second": round(size / 1e6 / max(seconds, 1e-6), 2),
        "examples": examples,
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, judge and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.filters", description="Count what each filter rejects of each source."
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of `make realdata`")
    arguments = parser.parse_args(argv)

    from data_prep.filters import DATATROVE, OURS

    for source, documents in corpus.texts(corpus.check_data(arguments.data)).items():
        for name in (*OURS, *DATATROVE):
            figures = {"benchmark": "filters", "source": source, "filter": name}
            print(json.dumps(figures | measure(documents, name), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    cli.run(main)
