"""Command: measure what each filter drops of each source, and how fast it is.

python -m benchmarks.filters --data DIR

Each filter sees every document, alone and with its default settings; the four of datatrove split
words as a build does, by regular expressions. A line of JSON for each source and filter.
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
"""Number of dropped documents that are shown."""
SHOWN = 80
"""Characters that are shown of each."""


def judged(documents: list[str], name: str) -> dict[str, Any]:
    """The number of documents that a filter drops, the reasons, and some examples."""
    from data_prep.filters import make

    reasons: Counter[str] = Counter()
    examples: list[str] = []
    judge = make(name)
    judge(documents[0])  # the first call loads what the filter needs
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
        "dropped": reasons.total(),
        "share": round(reasons.total() / len(documents), 4),
        "reasons": dict(reasons.most_common()),
        "mb_per_cpu_second": round(size / 1e6 / max(seconds, 1e-6), 2),
        "examples": examples,
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, judge and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.filters", description="Count what each filter drops of each source."
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of `make realdata`")
    arguments = parser.parse_args(argv)

    from data_prep.filters import DATATROVE, OURS

    for source, documents in corpus.texts(corpus.data_folder(arguments.data)).items():
        for name in (*OURS, *DATATROVE):
            figures = {"benchmark": "filters", "source": source, "filter": name}
            print(json.dumps(figures | judged(documents, name), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    cli.run(main)
