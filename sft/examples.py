"""Reads question sets: each row becomes an example or is rejected, for a reason that is counted."""

import fnmatch
import hashlib
import itertools
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data_prep.clean import is_unicode, normalise
from data_prep.contamination import QuestionIndex, questions
from sft.checkable import obstacle
from sft.config import QuestionSource, TuningData
from sft.conversations import Form, UnusableError
from tinymathreason.answers import PREFIX, ContradictionError, canonical
from tinymathreason.arithmetic import problems
from tinymathreason.chatml import Messages, conversation
from tinymathreason.listing import list_files, warn_empty
from tinymathreason.rows import RawRow, Row, column_names, records


@dataclass(slots=True)
class Example:
    """A conversation of a source."""

    source: str
    """Name of the source."""
    question: str
    """The question, normalised; of a conversation, all that the user and tools say."""
    solution: str
    """The worked answer with the canonical final line; of a conversation, the last answer."""
    group: str
    """A text that is the same in all variants of a question."""
    messages: Messages
    """The conversation, normalised; empty if the row has none."""
    prompted: int = 0
    """How many of its first answers are part of a prompt, which the loss does not see."""
    reason: str | None = None
    """Why it is rejected."""
    duplicate_of: str | None = None
    """The question of an earlier source, or of a benchmark, that it repeats."""
    why: str | None = None
    """The reason in words, where the row itself or the template is why."""

    level: str = ""
    """The value of the column that a selection divides the rows by."""

    @property
    def digest(self) -> bytes:
        """Hash of the conversation, 16 bytes."""
        texts = "\0".join(turn["content"] for turn in self.messages)
        return hashlib.blake2b(texts.encode("utf-8"), digest_size=16).digest()

    def skipped(self, turns: str) -> int:
        """How many of its first answers the loss does not see; ``turns`` is its source's key."""
        answers = sum(message["role"] == "assistant" for message in self.messages)
        return answers - 1 if turns == "last" else self.prompted

    @classmethod
    def of(
        cls,
        source: str,
        messages: Messages,
        group: str = "",
        final_line: bool = True,
        expected: str = "",
        checkable: bool = False,
    ) -> "Example":
        """The example of a conversation as `sft.conversations.tidy` leaves it.

        With ``final_line`` the last answer gets its canonical final line, which must agree with the
        ``expected`` answer if there is one, or there is a reason: ``no_final_answer``,
        ``contradictory_answer`` or, if it must be ``checkable``, those of `sft.checkable`.
        """
        # Without the system message, which many conversations share.
        texts = [turn["content"] for turn in messages if turn["role"] in ("user", "tool")]
        question, solution = "\n\n".join(texts), messages[-1]["content"]
        example = cls(source, question, solution, group or question, messages)
        if final_line:
            claim = f"\nThe answer is: {' '.join(expected.split())}" if expected.strip() else ""
            try:
                line = canonical(solution + claim)
            except ContradictionError:
                example.reason = "contradictory_answer"
                return example
            if line is None:
                example.reason = "no_final_answer"
                return example
            if checkable:
                example.reason = obstacle(question, line.rpartition(f"\n{PREFIX}")[2])
            example.solution = line
            example.messages = [*messages[:-1], {"role": "assistant", "content": line}]
        return example


Choice = Callable[[str, QuestionSource, set[bytes], QuestionIndex | None], Iterator[Example]]
"""Gives the rows of a source that its selection keeps, from its name, its configuration, the
digests of the examples before it, to which those of its own are added, and the benchmarks."""


def select(data: TuningData, choice: Choice | None = None) -> tuple[list[Example], list[Example]]:
    """The examples to keep, and the rejected ones with their reasons.

    Without a ``choice``, all rows of a source are read, also of one that has a selection.
    """
    from sft.duplicates import of_earlier_sources

    examples: list[Example] = []
    rejected: list[Example] = []
    for example in read(data, choice):
        (examples if example.reason is None else rejected).append(example)
    order = {name: number for number, name in enumerate(data.sources)}
    repeated = of_earlier_sources(
        [example.question for example in examples],
        [order[example.source] for example in examples],
        data.near_duplicates,
    )
    for number, (reason, first) in repeated.items():
        examples[number].reason = reason
        examples[number].duplicate_of = examples[first].question
        rejected.append(examples[number])
    return [example for example in examples if example.reason is None], rejected


def read(data: TuningData, choice: Choice | None = None) -> Iterator[Example]:
    """Every row of every source in order; a row that cannot be an example has a reason.

    Of a source with a selection, only the rows that ``choice`` gives. Reasons: ``not_selected``
    (``where``), ``invalid_json``, ``not_text``, ``not_messages``, ``unknown_role``, ``tool_calls``,
    ``invalid_unicode``, ``empty``, ``no_answer``, ``no_final_answer``, ``contradictory_answer``,
    ``proof``, ``not_checkable``, ``contaminated`` and ``exact_duplicate``. Shows its progress.
    Raises `InputError` naming file and row for an unreadable file, a row without the columns of its
    source in the first place, and, if a source is ``strict``, for a row that is no text.
    """
    from tqdm import tqdm

    texts = questions(data.decontaminate)
    benchmarks = QuestionIndex(texts) if texts else None
    seen: set[bytes] = set()
    for name, source in data.sources.items():
        if choice is not None and source.select is not None:
            yield from choice(name, source, seen, benchmarks)
            continue
        rows = itertools.islice(_examples(name, source, data.data_seed), source.examples)
        for example in tqdm(list(rows), desc=name, unit=" rows"):
            if example.reason is None:
                digest = example.digest
                example.reason = repetition(example, digest, benchmarks, seen)
                seen.add(digest)
            yield example


def repetition(
    example: Example, digest: bytes, benchmarks: QuestionIndex | None, *seen: Container[bytes]
) -> str | None:
    """Why an example is known already, or None; ``seen`` are the digests of those before it."""
    if any(digest in known for known in seen):
        return "exact_duplicate"
    if benchmarks:
        texts = [turn["content"] for turn in example.messages]
        example.duplicate_of = benchmarks.found_in("\n\n".join(texts))
        if example.duplicate_of is not None:
            return "contaminated"
    return None


def _examples(name: str, source: QuestionSource, seed: int) -> Iterator[Example]:
    """The example of every row, with the reason if the row itself is why it is rejected."""
    if source.path is None:
        for problem in problems(seed):
            yield Example.of(name, conversation(problem.question, problem.solution))
        return
    for file in source_files(name, source):
        for _, example in file_examples(name, source, file):
            yield example


def source_files(name: str, source: QuestionSource) -> list[str]:
    """The files of a source, in order."""
    files = list_files(f"sources.{name}.path", str(source.path))
    warn_empty(f"sources.{name}.path", files)
    return [file.path for file in files]


def file_examples(
    name: str, source: QuestionSource, file: str, wanted: Container[int] | None = None
) -> Iterator[tuple[int, Example]]:
    """The rows of a file with their numbers, those that are ``wanted`` if it is given."""
    form = _form(file, source)
    columns = [*form.columns, *_named(source)]
    for row in records(file, source.format, columns):
        if wanted is not None and row.number not in wanted:
            continue
        try:
            yield row.number, _example(name, source, form, row)
        except UnusableError as error:
            fault = Row(file, row.number, (), error.reason, error.why, row.line)
            if source.strict or error.reason == "unreadable_file":
                raise fault.error from error
            reason, why = error.reason, error.why
            yield row.number, Example(name, *_raw(form, row), "", [], reason=reason, why=why)


def _form(file: str, source: QuestionSource) -> Form:
    """The form of a file, by the columns of its first row."""
    row, present = column_names(file, source.format)
    form = Form.of(source, present)
    missing = [name for name in _named(source) if name not in present]
    if present and (form is None or missing):
        wanted = missing[0] if missing else source.messages or source.question
        raise replace(row, why=f"has no {wanted!r}; it has {', '.join(sorted(present))}").error
    return form or Form((source.question, source.answer))


def _named(source: QuestionSource) -> list[str]:
    """The columns that a source names beside those of its conversations."""
    return [*filter(None, _optional(source)), *source.where]


def _optional(source: QuestionSource) -> tuple[str | None, str | None, str | None]:
    """The columns of a row's group, its expected answer and its level."""
    return source.group, source.expected, source.select.level if source.select else None


def _example(name: str, source: QuestionSource, form: Form, row: RawRow) -> Example:
    if row.fault is not None:
        raise UnusableError(*row.fault)
    if not isinstance(row.value, Mapping):
        raise UnusableError("invalid_json", f"is {type(row.value).__name__}, expected an object")
    for column, patterns in source.where.items():
        if not _matches(row.value.get(column), patterns):
            return Example(name, *_raw(form, row), "", [], reason="not_selected")
    group, expected, level = (_cell(row.value, column) for column in _optional(source))
    final_line = form.is_questions if source.final_line is None else source.final_line
    messages, prompted = form.read(row.value)
    example = Example.of(name, messages, normalise(group), final_line, expected, source.checkable)
    example.prompted, example.level = prompted, level
    return example


def _matches(value: Any, patterns: str | Sequence[str]) -> bool:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return value is not None and any(fnmatch.fnmatchcase(str(value), p) for p in patterns)


def _cell(row: Mapping[str, Any], column: str | None) -> str:
    """A cell as text; empty if it is null, or there is no such column."""
    value = row.get(column) if column else None
    text = "" if value is None else str(value)
    if not is_unicode(text):
        raise UnusableError("invalid_unicode", f"has an unpaired surrogate in {column!r}")
    return text


def _raw(form: Form, row: RawRow) -> tuple[str, str]:
    """What a rejected row has in the columns of its source, for a reader of the rejected rows."""
    values = row.value if isinstance(row.value, Mapping) else {}
    cells = [values.get(column) for column in form.columns]
    texts = ["" if cell is None else str(cell) for cell in cells]
    return texts[0], texts[1] if len(texts) > 1 else ""
