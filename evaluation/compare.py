"""Command: compare two models by their answers to the same problems.

python -m evaluation.compare A B [--metric NAME] [--show N] [--output FILE] [--not-below]
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.interval import wilson
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.config import nearest
from tinymathreason.files import write_json
from tinymathreason.records.evaluation import Results, SampleRecord

PROBLEM = ("id", "question", "expected")
"""Keys that are equal in two samples of the same problem."""


def newcombe(both: int, first: int, second: int, neither: int) -> tuple[float, float]:
    """The 95 % interval of the first's accuracy minus the second's, on the same problems.

    The counts are the problems that both, only the first, only the second and neither got right.
    Method 10 of Newcombe, 1998 (https://pubmed.ncbi.nlm.nih.gov/9839354/): the two Wilson intervals
    are combined by the law of cosines with the correlation, which is reduced where it is positive.
    Raises ValueError when there are no problems.
    """
    n = both + first + second + neither
    right = both + first, both + second
    (low1, high1), (low2, high2) = (wilson(count, n) for count in right)
    rate1, rate2 = (count / n for count in right)
    excess = float(both * neither - first * second)
    if excess > 0:
        excess = max(excess - n / 2, 0.0)
    scale = math.prod(count * (n - count) for count in right)
    correlation = excess / math.sqrt(scale) if scale else 0.0

    def side(left: float, right: float) -> float:
        return math.sqrt(max(left**2 - 2 * correlation * left * right + right**2, 0.0))

    difference = (first - second) / n
    return (
        difference - side(rate1 - low1, high2 - rate2),
        difference + side(high1 - rate1, rate2 - low2),
    )


def mcnemar(won: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test, which is a sign test of ``won`` against ``lost``.

    Problems that both models got right, or both wrong, do not show which one is better.
    """
    coins, rarer = won + lost, min(won, lost)
    term = ways = 1
    for i in range(rarer):
        term = term * (coins - i) // (i + 1)
        ways += term
    return min(1.0, ways / 2 ** (coins - 1)) if coins else 1.0


def compare(a: Path, b: Path, metric: str | None = None) -> dict[str, Any]:
    """Compare the evaluation in folder ``b`` with the one in ``a``; the result is ready for JSON.

    Values, differences and bounds are shares of 1. ``won`` and ``lost`` are ids of problems that
    only b, or only a, got right. ``metric`` is one of the samples' metrics; None takes the
    evaluation's own. Raises `InputError` unless both answered the same problems of one task, and
    when the metric is unknown or not 0 or 1 for each problem.
    """
    if a.resolve() == b.resolve():
        raise InputError(f"{a}: compared with itself; name two evaluations")
    results, samples = zip(*(_read(folder) for folder in (a, b)), strict=True)
    _check_alike((a, b), results, samples)
    metric = metric or results[0].metric
    rights = [
        [_is_right(sample, metric, folder) for sample in side]
        for folder, side in zip((a, b), samples, strict=True)
    ]
    ids = [sample.id for sample in samples[0]]
    pairs = list(zip(*rights, strict=True))
    n = len(pairs)
    won = [i for i, pair in zip(ids, pairs, strict=True) if pair == (False, True)]
    lost = [i for i, pair in zip(ids, pairs, strict=True) if pair == (True, False)]
    both, neither = pairs.count((True, True)), pairs.count((False, False))
    low, high = newcombe(both, len(won), len(lost), neither)
    models = {}
    for name, folder, right in zip("ab", (a, b), rights, strict=True):
        bounds = wilson(sum(right), n)
        models[name] = {
            "folder": str(folder),
            "value": sum(right) / n,
            "low": bounds[0],
            "high": bounds[1],
        }
    return {
        "task": results[0].task,
        "metric": metric,
        "n": n,
        **models,
        "difference": (len(won) - len(lost)) / n,
        "low": low,
        "high": high,
        "p": mcnemar(len(won), len(lost)),
        "won": won,
        "lost": lost,
        "both_right": both,
        "both_wrong": neither,
    }


def _read(folder: Path) -> tuple[Results, list[SampleRecord]]:
    """The results and the samples, in the order of their ids, of an evaluation's folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the --output of an evaluation.run")
    results = Results.load(folder / "results.json")
    path = folder / "samples.jsonl"
    samples: dict[int, SampleRecord] = {}
    for number, sample in enumerate(SampleRecord.load_lines(path), 1):
        if samples.setdefault(sample.id, sample) is not sample:
            raise InputError(f"{path}:{number}: a second problem {sample.id}")
    if not samples:
        raise InputError(f"{path}: no problem in it")
    return results, [samples[i] for i in sorted(samples)]


def _check_alike(
    folders: Sequence[Path], results: Sequence[Results], samples: Sequence[list[SampleRecord]]
) -> None:
    """Raise `InputError` unless both evaluations are of the same problems."""
    compared = (
        ("tasks", [result.task for result in results]),
        ("numbers of problems", [len(side) for side in samples]),
    )
    for what, (left, right) in compared:
        if left != right:
            raise InputError(f"different {what}: {left} in {folders[0]}, {right} in {folders[1]}")
    for left, right in zip(*samples, strict=True):
        for key in PROBLEM:
            ours, theirs = getattr(left, key), getattr(right, key)
            if ours != theirs:
                raise InputError(
                    f"different problems: {key} {ours!r:.60} in {folders[0]}, "
                    f"{theirs!r:.60} in {folders[1]}"
                )


def _is_right(sample: SampleRecord, metric: str, folder: Path) -> bool:
    metrics = sample.metrics
    if metric not in metrics:
        raise InputError(f"{folder}: unknown metric {metric!r}; {nearest(metric, metrics)}")
    if metrics[metric] not in (0, 1):
        raise InputError(
            f"{folder}: problem {sample.id} has the {metric} {metrics[metric]!r}; a paired "
            "test needs 0 or 1, so one answer to each problem"
        )
    return bool(metrics[metric])


def _report(result: dict[str, Any]) -> str:
    """A comparison as lines for a terminal."""
    lines = [f"{result['task']}, {result['metric']}, {result['n']} problems"]
    lines += [
        f"{name.upper()} {result[name]['value']:.1%} (95 % interval {result[name]['low']:.1%} to "
        f"{result[name]['high']:.1%}) {result[name]['folder']}"
        for name in "ab"
    ]
    difference, low, high = (100 * result[key] for key in ("difference", "low", "high"))
    won, lost, p = len(result["won"]), len(result["lost"]), result["p"]
    return "\n".join(
        [
            *lines,
            f"B - A {difference:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}), "
            f"exact McNemar p {f'= {p:.2g}' if p else '< 1e-300'}",
            f"B won {won} {'problem' if won == 1 else 'problems'} and lost {lost}; "
            f"both right {result['both_right']}, both wrong {result['both_wrong']}",
        ]
    )


def _show(result: dict[str, Any], limit: int) -> str:
    """The first problems won and lost, with both models' first answers."""
    samples = [
        {sample.id: sample for sample in _read(Path(result[name]["folder"]))[1]} for name in "ab"
    ]
    blocks = []
    for what in ("won", "lost"):
        for i in result[what][:limit]:
            blocks.append(f"\n{what}: problem {i}, expected {samples[0][i].expected}")
            blocks.append(samples[0][i].question)
            for name, of_model in zip("AB", samples, strict=True):
                blocks.append(f"-- {name}:\n{of_model[i].completions[0]}")
    return "\n".join(map(_printable, blocks))


def _printable(text: str) -> str:
    """A model's text for a terminal, with control characters escaped."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def main(argv: Sequence[str]) -> None:
    """Parse the command line, compare and print."""
    parser = argparse.ArgumentParser(
        prog="evaluation.compare",
        description="Compare two models by their answers to the same problems.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="output folder of an evaluation")
    parser.add_argument("b", type=Path, metavar="B", help="that of the other model")
    parser.add_argument(
        "--metric", help="one of the samples' metrics; default: the evaluation's main metric"
    )
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="print N problems won and N lost"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for the result")
    parser.add_argument(
        "--not-below",
        action="store_true",
        help="fail when B is below A: when the interval of the difference lies below zero",
    )
    arguments = parser.parse_args(argv)
    if arguments.show < 0:
        parser.error(f"--show: must not be negative (got {arguments.show})")
    result = compare(arguments.a, arguments.b, arguments.metric)
    if arguments.output:
        write_json(arguments.output, result)
    print(_report(result))
    if arguments.show:
        print(_show(result, arguments.show))
    if arguments.not_below and result["high"] < 0:
        raise InputError(
            f"{arguments.b}: below {arguments.a} by {-100 * result['difference']:.1f} points, "
            f"{-100 * result['high']:.1f} at least by the interval"
        )


if __name__ == "__main__":
    cli.run(main)
