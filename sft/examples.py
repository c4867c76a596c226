"""Reads question sets: each row becomes an example with one final line, or is rejected."""

import fnmatch
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from data_prep.clean import is_unicode, normalise
from data_prep.contamination import QuestionIndex, questions
from sft.config import QuestionSource, TuningData
from tinymathreason.answers import ContradictionError, canonical
from tinymathreason.arithmetic import problems
from tinymathreason.rows import read_columns


@dataclass(slots=True)
class Example:
    """A question of a source and its worked answer."""

    source: str
    """Name of the source."""
    question: str
    """The question, normalised."""
    solution: str
    """The worked answer with the canonical final line; unchanged if the example is rejected."""
    group: str
    """A text that is the same in all variants of a question."""
    reason: str | None = None
    """Why it is rejected."""
    duplicate_of: str | None = None
    """The question of an earlier source, or of a benchmark, that it repeats."""


def read(data: TuningData) -> Iterator[Example]:
    """Every row of every source in order; a row that cannot be an example has a reason.

    Reasons: ``not_selected`` (``where``), ``invalid_unicode``, ``empty``, ``no_final_answer``,
    ``contradictory_answer``, ``contaminated`` and ``exact_duplicate`` (question and answer).
    Shows its progress. Raises `InputError` naming file and row if one cannot be read.
    """
    from tqdm import tqdm

    texts = questions(data.decontaminate)
    benchmarks = QuestionIndex(texts) if texts else None
    seen: set[bytes] = set()
    for name, source in data.sources.items():
        rows = list(_rows(name, source, data.data_seed))
        for question, answer, group, selected in tqdm(rows, desc=name, unit=" rows"):
            example = Example(name, question, answer, group)
            example.reason = reason(example, seen, benchmarks) if selected else "not_selected"
            yield example


def reason(example: Example, seen: set[bytes], benchmarks: QuestionIndex | None) -> str | None:
    """Why an example is rejected, or None; normalises the example and adds it to ``seen``."""
    if not is_unicode(example.question + example.solution + example.group):
        return "invalid_unicode"
    example.question, example.group = normalise(example.question), normalise(example.group)
    solution = normalise(example.solution)
    if not example.question or not solution:
        return "empty"
    try:
        canonical_solution = canonical(solution)
    except ContradictionError:
        return "contradictory_answer"
    if canonical_solution is None:
        return "no_final_answer"
    example.solution = canonical_solution
    text = f"{example.question}\0{example.solution}"
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    if digest in seen:
        return "exact_duplicate"
    seen.add(digest)
    if benchmarks:
        example.duplicate_of = benchmarks.found_in(f"{example.question}\n\n{example.solution}")
        if example.duplicate_of is not None:
            return "contaminated"
    return None


def _rows(name: str, source: QuestionSource, seed: int) -> Iterator[tuple[str, str, str, bool]]:
    """Question, worked answer, group, and whether ``where`` selects the row."""
    if source.path is None:
        for problem in itertools.islice(problems(seed), source.examples):
            yield problem.question, problem.solution, problem.question, True
        return
    columns = [source.question, source.answer, source.group or source.question, *source.where]
    rows = read_columns(f"sources.{name}.path", source.format, source.path, columns)
    patterns = list(source.where.values())
    for question, answer, group, *cells in itertools.islice(rows, source.examples):
        selected = all(map(fnmatch.fnmatchcase, cells, patterns))
        yield question, answer, group, selected
