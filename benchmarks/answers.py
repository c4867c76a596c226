"""Command: measure how long each reader of answers takes for hostile texts of a megabyte.

python -m benchmarks.answers [--characters 1000000]

A model's answer or a row of a dataset can be any text, so every reader has to take linear time for
any text. The figures are CPU seconds. For the comparison of answers, which runs in another process,
they are wall-clock seconds, also with the first `LONGEST` characters of a text.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from tinymathreason import cli
from tinymathreason.quantity import LONGEST

PARTS = {
    # Digits and signs.
    "nines": "9",
    "zeros": "0",
    "thousands": "1,",
    "groups": "1,234,",
    "spaced groups": "1 234 ",
    "narrow groups": "1\u202f234\u202f",
    "braced commas": "1{,}",
    "points": "1.",
    "minus signs": "-",
    "dashes": "\u2013",
    "slashes": "1/",
    "exponents": "1e9",
    "powers": "10^{3} \\times ",
    "per cent": "5\\%",
    "dollars": "$",
    "money": "$5 ",
    "colons": "5:",
    "units": "5 miles/hour ",
    "words": "apples ",
    "one word": "a",
    # Nests.
    "boxes": "\\boxed{",
    "empty boxes": "\\boxed{}",
    "boxes without braces": "\\boxed 5 ",
    "fractions": "\\frac{",
    "texts": "\\text{",
    "braces": "{",
    "closing braces": "}",
    "parentheses": "(",
    "roots": "\u221a(",
    "calculator marks": "<<1+1=2>>",
    "open calculator marks": "<<",
    # Blanks.
    "spaces": " ",
    "line ends": "\n",
    "blank lines": " \n",
    "no-break spaces": "\u00a0",
    "carriage returns": "\r",
    # Statements of an answer.
    "marks": "#",
    "final lines": "#### 5\n",
    "empty final lines": "#### \n",
    "final lines without end": "#### ",
    "headings": "#### a b\n",
    "different final lines": None,
    "long final lines": f"#### {'9' * 1900}\n",
    "long fractions": f"#### {'\u00bd' * 1900}\n",
    "long formulas": f"#### {'10^{3} x ' * 200}\n",
    "long words": f"#### 5{' apples' * 250}!\n",
    "sentences": "The answer is 5. ",
    "sentences without space": "the answer is ",
    "hopes": " I hope it is correct",
    "because": "The answer is 5 because ",
    # Characters.
    "zero bytes": "\x00",
    "escapes": "\x1b[2J",
    "halves of characters": "\ud800",
    "raised digits": "\u00b2",
    "vulgar fractions": "\u00bd",
    "emoji": "\U0001f600",
    "control tokens": "<|im_end|>",
    "backslashes": "\\",
    "ampersands": "&lt;",
    "stars": "*",
    "fences": "```\n",
}
"""The repeated part of each text, by name; None for lines that all differ."""
FRAMES = {"": "{}", "behind a mark": "#### {}x", "behind a claim": "x. The answer is {}!"}
"""The text around the repetition."""


def texts(characters: int, frames: Sequence[str] = tuple(FRAMES)) -> Iterator[tuple[str, str]]:
    """A name and a text of about this many characters for each kind and frame."""
    for name, part in PARTS.items():
        if part is None:
            lines = (f"#### {number}\n" for number in range(10**5, 10**5 + characters // 12))
            repeated = "".join(lines)
        else:
            repeated = part * (characters // len(part))
        for frame in frames:
            yield f"{name} {frame}".strip(), FRAMES[frame].format(repeated)


def readers() -> dict[str, Callable[[str], Any]]:
    """All functions that read a model's text or a row, except math-verify."""
    from data_prep import clean
    from evaluation import answers as evaluation
    from release.typeset import typeset
    from sft.examples import Example
    from sft.rewards import REWARDS
    from tinymathreason import answers, latex, spelling
    from tinymathreason.chatml import conversation

    return {
        "canonical": answers.canonical,
        "boxes": answers.boxes,
        "bare": answers.bare,
        "read_final": answers.read_final,
        "plain_number": latex.plain_number,
        "normalise": spelling.normalise,
        "clean": clean.normalise,
        "row": lambda text: Example.of("benchmark", conversation("?", clean.normalise(text))),
        "strict": evaluation.strict,
        "flexible": evaluation.flexible,
        "final": evaluation.final,
        **{f"reward {name}": partial(_rewarded, score) for name, score in REWARDS.items()},
        "typeset": typeset,
    }


def _rewarded(score: Callable[[str, str, Any], float], text: str) -> float:
    return score(text, "5", None)


def seconds(read: Callable[[str], Any], text: str, clock: Callable[[], float]) -> float:
    """Seconds of one call."""
    from tinymathreason.answers import ContradictionError

    started = clock()
    with suppress(ContradictionError):
        read(text)
    return clock() - started


def run(characters: int) -> dict[str, Any]:
    """The slowest text of each reader, and all texts that take longer than a second."""
    from evaluation.answers import Checker

    timings = {}
    for name, read in readers().items():
        taken = {kind: seconds(read, text, time.process_time) for kind, text in texts(characters)}
        timings[name] = taken
    with Checker() as judge:
        judge.correct("x", "y")
        timings["judge"] = {
            kind: max(
                seconds(lambda t: judge.correct(t, "x+1"), part, time.perf_counter)
                for part in (text, text[:LONGEST])
            )
            for kind, text in texts(characters, [""])
        }
    slowest = {name: max(taken, key=lambda kind: taken[kind]) for name, taken in timings.items()}
    return {
        "benchmark": "answers",
        "characters": characters,
        "kinds": len(PARTS),
        "frames": len(FRAMES),
        "seconds": {name: round(timings[name][kind], 3) for name, kind in slowest.items()},
        "slowest": slowest,
        "over_a_second": [
            f"{name}: {kind}"
            for name, taken in timings.items()
            for kind, value in taken.items()
            if value >= 1
        ],
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.answers", description="Time every reader of answers on hostile texts."
    )
    parser.add_argument("--characters", type=int, default=1_000_000, help="of each text")
    print(json.dumps(run(parser.parse_args(argv).characters)), flush=True)


if __name__ == "__main__":
    cli.run(main)
