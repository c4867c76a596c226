"""No LaTeX answer stops a comparison, and no process is left behind."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymathreason import latex
from tinymathreason.cli import InputError
from tinymathreason.latex import Comparer, plain_number

HALF = r"\frac{1}{2}"
ENDLESS = "9^{9^{9^{9}}}"
TIMEOUT = 60.0
"""Seconds for a comparison that must end, however busy the machine is."""


@pytest.fixture(scope="module")
def judge():
    with Comparer(TIMEOUT) as judge:
        yield judge
        child = judge._child
    assert child is not None
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("answer", "right", "equal"),
    [
        ("0.5", HALF, True),
        (r"$\dfrac12$.", HALF, True),
        (r"\boxed{1/2}", HALF, True),
        ("0.51", HALF, False),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        ("x+1", "1+x", True),
        ("[0, 1)", "[0,1)", True),
        ("(0,1)", "[0,1)", False),
        ("(1,0)", "(0,1)", False),
        (r"5\text{ cm}", r"5 \text{cm}", True),
        ("x=5", "5", True),
        (r"(-\infty, 2]", r"x \le 2", True),
        (r"x \le 2", r"(-\infty, 2]", False),  # its sides are not alike
        ("1e1", "10", False),  # math-verify reads Euler's number
        # One answer, not a list of guesses.
        (r"\frac12 or \frac13", HALF, False),
        ("1/2$ and $1/3", HALF, False),
        ("1/3\n1/2", HALF, False),
        # No answer at all.
        ("", HALF, False),
        (HALF, "", False),
        (" ", "", False),
        (".", ".", False),
        (r"\frac{1}{2", HALF, False),
        ("}{", HALF, False),
        ("\x00", HALF, False),
        ("\ud800", HALF, False),
        ('", "1/2"]\n["1/2", "1/2', HALF, False),
        ("((((" * 5, HALF, False),
    ],
)
def test_answers_are_judged(judge, answer: str, right: str, equal: bool) -> None:
    assert judge.equal(answer, right) is equal
    assert not judge.failures
    assert judge.equal("1/2", HALF)  # and the replies still belong to the questions


def test_the_child_is_bounded_in_memory(judge) -> None:
    assert judge.equal("1/2", HALF)
    assert resource.prlimit(judge._child.pid, resource.RLIMIT_AS)[0] == latex.MEMORY


@pytest.mark.clock
def test_an_endless_answer_is_wrong_and_the_next_one_is_judged() -> None:
    with Comparer(seconds=1) as judge:
        assert not judge.equal(ENDLESS, HALF)
        assert judge.failures == {"timeout": 1}
        child = judge._child
        judge.equal("1/2", HALF)
        assert judge._child is child  # and nothing was imported anew


def test_a_comparison_that_dies_is_a_crash_and_the_next_one_is_judged(monkeypatch) -> None:
    dies = "import os; latex._verify = lambda a, b: os.abort() if a == 'x' else a != b"
    code = latex._CHILD.replace("serve;", f"serve; from tinymathreason import latex; {dies};")
    monkeypatch.setattr(latex, "_CHILD", code)
    with Comparer(TIMEOUT) as judge:
        assert not judge.equal("x", HALF)
        assert judge.failures == {"crash": 1}
        child = judge._child
        assert judge.equal("1/2", HALF)
        assert judge._child is child


@pytest.mark.clock
def test_no_comparison_outlives_its_judge() -> None:
    judge = Comparer(TIMEOUT)
    judge._start()
    child = judge._child.pid
    _, stdin = judge._pipes()
    stdin.write(json.dumps([ENDLESS, HALF]).encode() + b"\n")
    stdin.flush()
    children = Path(f"/proc/{child}/task/{child}/children")
    while not (comparison := children.read_text().split()):
        time.sleep(0.01)
    started = time.monotonic()
    judge.close()
    while _runs(int(comparison[0])):
        assert time.monotonic() - started < TIMEOUT / 2
        time.sleep(0.01)


def _runs(process: int) -> bool:
    """Whether a process runs; a killed orphan may wait for a lazy init to collect it."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_a_child_that_does_not_reply_is_a_crash(monkeypatch) -> None:
    monkeypatch.setattr(latex, "_CHILD", "print('ready', flush=True); input(); input()")
    monkeypatch.setattr(latex, "GRACE_SECONDS", 0.1)
    with Comparer(seconds=0.1) as judge:
        assert not judge.equal("1/2", HALF)
        assert judge.failures == {"crash": 1}
        assert judge._child is None


def test_the_child_ends_with_its_input() -> None:
    pairs = [["1/2", HALF], ["1/3", HALF]]
    done = subprocess.run(
        [sys.executable, "-c", latex._CHILD, str(TIMEOUT)],
        input="".join(f"{json.dumps(pair)}\n" for pair in pairs),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "ready\ntrue\nfalse\n")


def test_a_child_whose_parent_dies_ends() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", latex._CHILD, "0.2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout.readline() == b"ready\n"
    child.stdin.write(f"{json.dumps([ENDLESS, HALF])}\n".encode())
    child.stdin.flush()
    child.stdout.close()
    assert child.wait(TIMEOUT) != 0  # it found nobody to tell, though its input is open
    child.stdin.close()


def test_a_crash_is_a_wrong_answer(monkeypatch) -> None:
    monkeypatch.setattr(latex, "_CHILD", "print('ready', flush=True); input()")
    with Comparer(TIMEOUT) as judge:
        for crashes in (1, 2):
            assert not judge.equal("1/2", HALF)
            assert judge.failures == {"crash": crashes}


def test_a_child_that_died_between_two_answers_is_a_crash(monkeypatch) -> None:
    monkeypatch.setattr(latex, "_CHILD", "print('ready', flush=True)")
    with Comparer(TIMEOUT) as judge:
        judge._start()
        judge._child.wait()
        assert not judge.equal("1/2", HALF)
        assert judge.failures == {"crash": 1}


@pytest.mark.parametrize("child", ["raise SystemExit(1)", "import time; time.sleep(100)"])
def test_a_child_that_does_not_start_is_reported(monkeypatch, child: str) -> None:
    monkeypatch.setattr(latex, "_CHILD", child)
    monkeypatch.setattr(latex, "START_SECONDS", 1.0)
    judge = Comparer()
    with pytest.raises(ChildProcessError, match="math-verify does not start"):
        judge.equal("1/2", HALF)
    assert judge._child is None


def test_an_interrupted_comparison_leaves_no_reply_behind(monkeypatch) -> None:
    monkeypatch.setattr(latex, "_CHILD", "print('ready', flush=True); input()")
    judge = Comparer()
    judge._start()
    child = judge._child

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(judge, "_line", interrupt)
    with pytest.raises(KeyboardInterrupt):
        judge.equal("1/2", HALF)
    assert judge._child is None
    assert child.returncode == -signal.SIGKILL


def test_what_needs_no_child_starts_none() -> None:
    judge = Comparer()
    assert judge.equal("1,000.0", "1000")
    assert not judge.equal("10", "11")
    assert judge.equal("(0,1)", " (0,1)")
    assert not judge.equal("", "")
    assert not judge.failures
    assert not judge.equal("7" * 100_000, HALF)
    assert not judge.equal(HALF, "(" * (latex.LONGEST + 1))
    assert judge.failures == {"too_long": 2}
    assert judge._child is None


def test_the_longest_question_fits_a_pipe() -> None:
    longest = "\U0001f600" * latex.LONGEST
    assert len(json.dumps([longest, longest])) < 1 << 16


def test_a_judge_that_cannot_judge_is_one_line(monkeypatch) -> None:
    with pytest.raises(InputError, match="time limit must be positive"):
        Comparer(seconds=0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="no math-verify; pip install"):
        Comparer()


def test_the_parent_imports_no_sympy() -> None:
    code = "import sys, sft.rewards; sys.exit(not {'sympy', 'math_verify'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@given(st.integers())
def test_an_integer_is_a_plain_number(number: int) -> None:
    assert plain_number(str(number)) == plain_number(f" {number:,}\n") == str(number)


@pytest.mark.parametrize(
    "text", ["", "1e1", "5\n6", "5 6", "5 or 6", "NaN", "Infinity", "\u0665", "1_0", HALF, "x"]
)
def test_what_is_no_plain_number(text: str) -> None:
    assert plain_number(text) is None
