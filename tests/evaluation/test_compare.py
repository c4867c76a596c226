"""The paired comparison agrees with published values, its symmetries and a simulation."""

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.compare import compare, main, mcnemar, newcombe
from evaluation.interval import wilson
from tests.support import records
from tinymathreason.cli import InputError

counts = st.tuples(*[st.integers(0, 300)] * 4).filter(any)


@pytest.mark.parametrize(
    ("table", "difference", "low", "high"),
    [
        # Altman et al., Statistics with Confidence (2000), chapter 6.
        ((14, 5, 0, 22), 0.122, 0.011, 0.226),
        # Fagerland et al., Statistics in Medicine 33 (2014), Bentur's and Cavo's data.
        ((1, 1, 7, 12), -0.286, -0.507, -0.026),
        ((59, 6, 16, 80), -0.0621, -0.1186, -0.0046),
    ],
)
def test_published_intervals(table, difference: float, low: float, high: float) -> None:
    digits = 5e-5 if len(str(abs(low))) > 5 else 5e-4
    assert newcombe(*table) == pytest.approx((low, high), abs=digits)
    assert (table[1] - table[2]) / sum(table) == pytest.approx(difference, abs=digits)


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [
        (1, 7, 18 / 256),  # Fagerland et al.: 0.070
        (7, 1, 18 / 256),
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 5, 1.0),
        (0, 6, 2 / 64),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
        (0, 5000, 0.0),  # below what a float holds
    ],
)
def test_p_by_hand(won: int, lost: int, p: float) -> None:
    assert mcnemar(won, lost) == p


@given(counts)
def test_laws(table: tuple[int, int, int, int]) -> None:
    both, first, second, neither = table
    low, high = newcombe(*table)
    difference = (first - second) / sum(table)
    assert -1 <= low <= difference <= high <= 1
    assert low < high
    assert newcombe(both, second, first, neither) == pytest.approx((-high, -low))
    assert newcombe(neither, first, second, both) == pytest.approx((low, high))
    p = mcnemar(first, second)
    assert p == mcnemar(second, first)
    assert 0 <= p <= 1
    if first + second < 60:
        ways = [math.comb(first + second, i) for i in range(first + second + 1)]
        as_rare = sum(way for way in ways if way <= ways[first])
        assert p == pytest.approx(as_rare / sum(ways))


@pytest.mark.parametrize("both", [0, 5, 10])
def test_no_difference(both: int) -> None:
    low, high = newcombe(both, 0, 0, 10 - both)
    assert low == -high < 0
    with pytest.raises(ValueError, match="not an accuracy"):
        newcombe(0, 0, 0, 0)


@pytest.mark.parametrize("shares", [(0.6, 0.1, 0.05, 0.25), (0.9, 0.04, 0.03, 0.03)])
def test_the_interval_covers_the_truth_as_often_as_it_says(shares) -> None:
    random.seed(0)
    truth, rounds, covered = shares[1] - shares[2], 1000, 0
    for _ in range(rounds):
        drawn = random.choices(range(4), shares, k=200)
        low, high = newcombe(*(drawn.count(cell) for cell in range(4)))
        covered += low <= truth <= high
    assert 0.93 < covered / rounds < 0.98


def write(folder: Path, right: str, task: str = "gsm8k", **changes) -> Path:
    """An evaluation's folder: 1 and 0 for right and wrong answers to problems 0, 1, ..."""
    folder.mkdir()
    records.results(task=task).write(folder / "results.json")
    lines = []
    for i, verdict in enumerate(right):
        sample = records.sample(
            id=i,
            question=f"question {i}\u2028",
            expected=str(i),
            completions=[f"{folder.name} says {verdict} to {i}\x1b[2J\ufff9"],
            metrics={"strict": float(verdict), "flexible": 1.0, "mean": 0.5},
        )
        lines.append(json.dumps({**sample.as_json(), **changes}) + "\n")
    (folder / "samples.jsonl").write_text("".join(lines))
    return folder


def test_two_evaluations_are_compared(tmp_path) -> None:
    a, b = write(tmp_path / "a", "1110000000"), write(tmp_path / "b", "0111111000")
    result = compare(a, b)
    assert result["won"] == [3, 4, 5, 6]
    assert result["lost"] == [0]
    assert (result["both_right"], result["both_wrong"]) == (2, 3)
    assert (result["task"], result["metric"], result["n"]) == ("gsm8k", "strict", 10)
    assert result["difference"] == pytest.approx(0.3)
    assert (result["low"], result["high"]) == newcombe(2, 4, 1, 3)
    assert result["p"] == 2 * 6 / 32
    low, high = wilson(3, 10)
    assert result["a"] == {"folder": str(a), "value": 0.3, "low": low, "high": high}
    assert result["b"]["value"] == 0.6


def test_the_other_way_round_negates(tmp_path) -> None:
    a, b = write(tmp_path / "a", "111000"), write(tmp_path / "b", "011110")
    there, back = compare(a, b), compare(b, a)
    for key, other in (("difference", "difference"), ("low", "high"), ("high", "low")):
        assert there[key] == pytest.approx(-back[other])
    assert there["p"] == back["p"]
    assert (there["won"], there["a"]) == (back["lost"], back["b"])


def test_the_same_answers_differ_in_nothing(tmp_path) -> None:
    a, b = write(tmp_path / "a", "1100"), write(tmp_path / "b", "1100")
    result = compare(a, b)
    assert (result["difference"], result["p"], result["won"], result["lost"]) == (0, 1, [], [])
    assert compare(a, write(tmp_path / "c", "0000"), "flexible")["difference"] == 0


def test_the_order_of_the_lines_does_not_matter(tmp_path) -> None:
    a, b = write(tmp_path / "a", "1110"), write(tmp_path / "b", "0111")
    expected = compare(a, b)
    file = b / "samples.jsonl"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    assert compare(a, b) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "math500"}, "different tasks: gsm8k in .*a, math500 in .*b"),
        ({"right": "111"}, "different numbers of problems: 2 in .*a, 3 in .*b"),
        ({"question": "?"}, "different problems: question 'question 0.*' in .*a, '\\?' in .*b"),
        ({"expected": "7"}, "different problems: expected '0' in .*a, '7' in .*b"),
        ({"id": 0}, "samples.jsonl:2: a second problem 0"),
        ({"id": "x"}, "samples.jsonl:1: id: Input should be a valid integer"),
        ({"metrics": None}, "samples.jsonl:1: metrics: Input should be a valid dictionary"),
        ({"metrics": {}}, "unknown metric 'strict'"),
        ({"metrics": {"strict": 0.5}}, "problem 0 has the strict 0.5; a paired test needs 0 or 1"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, change, words: str) -> None:
    a, b = write(tmp_path / "a", "10"), write(tmp_path / "b", **{"right": "10", **change})
    with pytest.raises(InputError, match=words):
        compare(a, b)


def test_broken_folders_are_one_line(tmp_path) -> None:
    a, b = write(tmp_path / "a", "10"), write(tmp_path / "b", "01")
    with pytest.raises(InputError, match="a: compared with itself"):
        compare(a, tmp_path / "b" / ".." / "a")
    with pytest.raises(InputError, match="unknown metric 'flexibel'; did you mean 'flexible'"):
        compare(a, b, "flexibel")
    with pytest.raises(InputError, match="no such folder; name the --output"):
        compare(a, tmp_path / "c")
    for content, words in (
        ("", "no problem in it"),
        ("{", "samples.jsonl:1: not valid JSON: "),
        ("[]", "samples.jsonl:1: holds a list, expected an object; write it again with eval"),
        ('{"id": 0}', "samples.jsonl:1: kind is missing"),
    ):
        (b / "samples.jsonl").write_text(content)
        with pytest.raises(InputError, match=words):
            compare(a, b)
    (b / "samples.jsonl").unlink()
    with pytest.raises(InputError, match=r"samples\.jsonl: no such file"):
        compare(a, b)
    (b / "results.json").write_text("{}")
    with pytest.raises(InputError, match=r"results\.json: kind is missing"):
        compare(a, b)


def test_the_command_tells_and_stores_the_difference(tmp_path, capsys) -> None:
    a, b = write(tmp_path / "a", "1110000000"), write(tmp_path / "b", "0111111000")
    main([str(a), str(b), "--show", "2", "--output", str(tmp_path / "found.json")])
    message = capsys.readouterr().out
    assert f"A 30.0% (95 % interval 10.8% to 60.3%) {a}" in message
    assert "B - A +30.0 points (95 % interval -11.8 to +60.1), exact McNemar p = 0.38\n" in message
    assert "B won 4 problems and lost 1; both right 2, both wrong 3\n" in message
    assert "won: problem 3, expected 3\nquestion 3" in message
    assert "-- A:\na says 0 to 3\\x1b[2J\\ufff9\n-- B:\nb says 1 to 3" in message
    assert "lost: problem 0" in message
    assert "problem 5" not in message  # the third one won
    assert "\x1b" not in message
    assert json.loads((tmp_path / "found.json").read_text()) == compare(a, b)


def test_a_model_that_is_surely_below_fails_on_request(tmp_path, capsys) -> None:
    a, b = write(tmp_path / "a", "1" * 15 + "0" * 5), write(tmp_path / "b", "1" * 5 + "0" * 15)
    c = write(tmp_path / "c", "1" * 14 + "0" * 6)
    main([str(a), str(b)])
    for above, below in ((b, a), (a, c), (a, write(tmp_path / "same", "1" * 15 + "0" * 5))):
        main([str(above), str(below), "--not-below"])  # better, hardly worse, and equal
    with pytest.raises(InputError, match=r"b: below .*a by 50\.0 points, 2\d\.\d at least by the"):
        main([str(a), str(b), "--not-below"])
    assert "B - A -50.0 points" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing"], "error: missing: no such folder"),
        (["a", "--metric", "strikt"], "did you mean 'strict'?"),
        (["a", "--show", "-1"], "--show: must not be negative"),
    ],
)
def test_bad_arguments_end_with_one_line(tmp_path, arguments: list[str], words: str) -> None:
    write(tmp_path / "a", "10")
    write(tmp_path / "b", "01")
    done = subprocess.run(
        [sys.executable, "-m", "evaluation.compare", "b", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, evaluation.compare;"
        "sys.exit(not {'torch', 'transformers', 'numpy', 'lm_eval'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
