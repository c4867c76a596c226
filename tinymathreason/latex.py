r"""Compares LaTeX answers with math-verify, in a process that can be killed.

math-verify passes a model's text to sympy, which never finishes with ``9^{9^{9}}``. It sets an
alarm, but that works only in the main thread and not within one long multiplication. So math-verify
runs in a child process that reads and writes lines of JSON. The child imports it once and forks a
process of bounded memory and time for each comparison: the kernel kills an endless one, the next
one needs no import, and no verdict depends on earlier ones. Only the child imports math-verify.

What math-verify 0.9.0 does: it knows fractions, roots, intervals, tuples, sets and matrices. It
reads ``1e1`` as Euler's number, ``ab`` as a product and ``1,2`` as a set; rounds to six decimals;
and reads only the last part of ``1/3=1/2``. ``50\%`` equals both 50 and one half with ANTLR 4.13,
and nothing with 4.11. Its list of units is disabled: it would read ``5h`` and ``5 squared`` as 5.
"""

import contextlib
import importlib.util
import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections import Counter
from types import TracebackType
from typing import IO, Self

from tinymathreason.answers import final_line, read_final, same_number
from tinymathreason.cli import InputError
from tinymathreason.quantity import LONGEST

MEMORY = 1 << 30
"""Bytes of address space of a comparison; math-verify itself needs 90 MB."""
START_SECONDS = 120.0
"""Time for the child to import sympy, which takes two seconds on an idle machine."""
GRACE_SECONDS = 60.0
"""Wall-clock time to wait for a reply beyond the processor time of a comparison, since other
processes may have the processor; after that the child counts as broken."""

_READY = b"ready\n"
_REPLIES = {0: b"true\n", 1: b"false\n", -signal.SIGPROF: b"timeout\n"}
"""The reply by the exit status of a comparison; ``crash`` for any other."""
# The parser builds tables as it reads: 0.3 s once here, instead of in every comparison.
_LESSONS = (
    (r"\frac{1}{2}", "0.5"),
    (r"\sqrt{8}+2^{x}\pi", "(0,1]"),
    (r"x \le 2", r"(-\infty, 2]"),
    ("(x+1)^2", "x^2+2x+1"),
    (r"\sin x", r"\{1,2\}"),
)
_CHILD = "import sys; from tinymathreason.latex import serve; serve(float(sys.argv[1]))"


def plain_number(text: str) -> str | None:
    """The number that makes up the whole text, without thousands separators; else None."""
    text = text.strip()
    return None if "\n" in text else read_final(final_line(text))


class Comparer:
    """Compares answers in a child process, which starts when it is first needed.

    A context manager; not to be used from two threads at once. Raises `InputError` when the time
    is not positive or math-verify is missing.
    """

    def __init__(self, seconds: float = 3.0) -> None:
        if seconds <= 0:
            raise InputError(f"comparison: the time limit must be positive (got {seconds})")
        if importlib.util.find_spec("math_verify") is None:
            raise InputError("comparison: no math-verify; pip install 'tinymathreason[evaluation]'")
        self.seconds = seconds
        """Processor time for one comparison; read when the child starts."""
        self.failures: Counter[str] = Counter()
        """Answers that count as wrong without a verdict: ``too_long``, ``timeout``, ``crash``."""
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def equal(self, answer: str, right: str) -> bool:
        """Whether a model's answer equals the right one; both without dollar signs around them.

        Two plain numbers are compared exactly, and equal texts are equal. The child decides all
        other cases; if it fails, the answer is wrong and is counted in `failures`. Raises
        `ChildProcessError` when the child does not start.
        """
        if max(len(answer), len(right)) > LONGEST:
            self.failures["too_long"] += 1
            return False
        numbers = plain_number(answer), plain_number(right)
        if None not in numbers:
            return same_number(*numbers)
        answer, right = (text.strip().removesuffix(".") for text in (answer, right))
        if not answer or not right:
            return False
        if answer == right:
            return True
        try:
            reply = self._ask(answer, right)
        except (TimeoutError, BrokenPipeError, EOFError):
            reply = "crash"
        if reply in ("timeout", "crash"):
            self.failures[reply] += 1
        return reply == "true"

    def close(self) -> None:
        """End the child, if there is one. A later comparison starts another."""
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.communicate()
            self._child = None

    def _ask(self, answer: str, right: str) -> str:
        if self._child is None:
            self._start()
        try:
            _, stdin = self._pipes()
            stdin.write(json.dumps([answer, right]).encode() + b"\n")
            stdin.flush()
            return self._line(self.seconds + GRACE_SECONDS).decode().strip()
        except BaseException:
            # Also when interrupted: otherwise the next comparison would read this one's reply.
            self.close()
            raise

    def _start(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(self.seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,  # so that its comparisons end with it
        )
        try:
            self._line(START_SECONDS)
        except (TimeoutError, EOFError) as error:
            self.close()
            raise ChildProcessError(
                "comparison: math-verify does not start in its process"
            ) from error
        except BaseException:
            self.close()
            raise

    def _line(self, seconds: float) -> bytes:
        """The child's next line; a few bytes, which a pipe delivers at once."""
        stdout, _ = self._pipes()
        waiting = select.poll()
        waiting.register(stdout, select.POLLIN)
        if not waiting.poll(seconds * 1000):
            raise TimeoutError
        line = stdout.readline()
        if not line:
            raise EOFError
        return line

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._child
        assert self._child.stdout
        assert self._child.stdin
        return self._child.stdout, self._child.stdin


def serve(seconds: float) -> None:
    """The child: replies to each pair of texts with one word, until its input ends.

    The words are ``true``, ``false``, ``crash`` and ``timeout``, after ``seconds`` of processor
    time, so that a verdict does not depend on the machine's load. A comparison whose parent dies
    still ends at its time limit.
    """
    replies = os.dup(1)
    os.dup2(2, 1)  # so that printed text is not read as a reply
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for lesson in _LESSONS:
        _verify(*lesson)
    os.write(replies, _READY)
    for line in sys.stdin:
        comparison = os.fork()
        if not comparison:
            signal.setitimer(signal.ITIMER_PROF, seconds)
            try:
                os._exit(0 if _verify(*json.loads(line)) else 1)
            finally:
                os._exit(2)
        status = os.waitstatus_to_exitcode(os.waitpid(comparison, 0)[1])
        os.write(replies, _REPLIES.get(status, b"crash\n"))


def _verify(answer: str, right: str) -> bool:
    from latex2sympy2_extended import NormalizationConfig  # type: ignore[import-untyped]
    from math_verify import (  # type: ignore[import-untyped]
        LatexExtractionConfig,
        parse,
        verify,
    )

    # Other settings would pick an answer out of prose, or remove units such as h.
    spelling = NormalizationConfig(units=False, malformed_operators=True, nits=True)
    whole = [LatexExtractionConfig(normalization_config=spelling)]
    parsed = (
        parse(f"${text}$", whole, fallback_mode="no_fallback", parsing_timeout=0)
        for text in (right, answer)
    )
    return bool(verify(*parsed, timeout_seconds=0))
