"""Reads question sets: each row becomes an example or is rejected, for a reason that is counted."""

import fnmatch
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from data_prep.clean import is_unicode, normalise
from data_prep.contamination import QuestionIndex, questions
from sft.config import QuestionSource, TuningData
from sft.conversations import Form, UnusableError
from tinymathreason.answers import ContradictionError, canonical
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

    def skipped(self, turns: str) -> int:
        """How many of its first answers the loss does not see; ``turns`` is its source's key."""
        answers = sum(message["role"] == "assistant" for message in self.messages)
        return answers - 1 if turns == "last" else self.prompted

    @classmethod
    def of(
        cls, source: str, messages: Messages, group: str = "", final_line: bool = True
    ) -> "Example":
        """The example of a conversation as `sft.conversations.tidy` leaves it.

        With ``final_line`` the last answer gets its canonical final line, or there is a reason:
        ``no_final_answer`` or ``contradictory_answer``.
        """
        # Without the system message, which many conversations share.
        texts = [turn["content"] for turn in messages if turn["role"] in ("user", "tool")]
        question, solution = "\n\n".join(texts), messages[-1]["content"]
        example = cls(source, question, solution, group or question, messages)
        if final_line:
            try:
                line = canonical(solution)
            except ContradictionError:
                example.reason = "contradictory_answer"
                return example
            if line is None:
                example.reason = "no_final_answer"
                return example
            example.solution = line
            example.messages = [*messages[:-1], {"role": "assistant", "content": line}]
        return example


def select(data: TuningData) -> tuple[list[Example], list[Example]]:
    """The examples to keep, and the rejected ones with their reasons."""
    from sft.duplicates import of_earlier_sources

    examples: list[Example] = []
    rejected: list[Example] = []
    for example in read(data):
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


def read(data: TuningData) -> Iterator[Example]:
    """Every row of every source in order; a row that cannot be an example has a reason.

    Reasons: ``not_selected`` (``where``), ``invalid_json``, ``not_text``, ``not_messages``,
    ``unknown_role``, ``tool_calls``, ``invalid_unicode``, ``empty``, ``no_answer``,
    ``no_final_answer``, ``contradictory_answer``, ``contaminated`` and ``exact_duplicate``.
    Shows its progress. Raises `InputError` naming file and row for an unreadable file, a row
    without the columns of its source in the first place, and, if a source is ``strict``, for a row
    that is no text.
    """
    from tqdm import tqdm

    texts = questions(data.decontaminate)
    benchmarks = QuestionIndex(texts) if texts else None
    seen: set[bytes] = set()
    for name, source in data.sources.items():
        rows = itertools.islice(_examples(name, source, data.data_seed), source.examples)
        for example in tqdm(list(rows), desc=name, unit=" rows"):
            if example.reason is None:
                example.reason = _repetition(example, seen, benchmarks)
            yield example


def _repetition(example: Example, seen: set[bytes], benchmarks: QuestionIndex | None) -> str | None:
    """Why an example is known already, or None; adds it to ``seen``."""
    texts = [turn["content"] for turn in example.messages]
    digest = hashlib.sha256("\0".join(texts).encode("utf-8")).digest()
    if digest in seen:
        return "exact_duplicate"
    seen.add(digest)
    if benchmarks:
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
    files = list_files(f"sources.{name}.path", source.path)
    warn_empty(f"sources.{name}.path", files)
    for file in files:
        form = _form(file.path, source)
        columns = [*form.columns, *([source.group] if source.group else []), *source.where]
        for row in records(file.path, source.format, columns):
            try:
                yield _example(name, source, form, row)
            except UnusableError as error:
                fault = Row(file.path, row.number, (), error.reason, error.why, row.line)
                if source.strict or error.reason == "unreadable_file":
                    raise fault.error from error
                yield Example(name, *_raw(form, row), "", [], reason=error.reason, why=error.why)


def _form(file: str, source: QuestionSource) -> Form:
    """The form of a file, by the columns of its first row."""
    row, present = column_names(file, source.format)
    form = Form.of(source, present)
    missing = [name for name in (source.group, *source.where) if name and name not in present]
    if present and (form is None or missing):
        wanted = missing[0] if missing else source.messages or source.question
        raise replace(row, why=f"has no {wanted!r}; it has {', '.join(sorted(present))}").error
    return form or Form((source.question, source.answer))


def _example(name: str, source: QuestionSource, form: Form, row: RawRow) -> Example:
    if row.fault is not None:
        raise UnusableError(*row.fault)
    if not isinstance(row.value, Mapping):
        raise UnusableError("invalid_json", f"is {type(row.value).__name__}, expected an object")
    for column, pattern in source.where.items():
        value = row.value.get(column)
        if value is None or not fnmatch.fnmatchcase(str(value), pattern):
            return Example(name, *_raw(form, row), "", [], reason="not_selected")
    group = row.value.get(source.group) if source.group else None
    group = "" if group is None else str(group)
    if not is_unicode(group):
        raise UnusableError("invalid_unicode", f"has an unpaired surrogate in {source.group!r}")
    final_line = form.is_questions if source.final_line is None else source.final_line
    messages, prompted = form.read(row.value)
    example = Example.of(name, messages, normalise(group), final_line)
    example.prompted = prompted
    return example


def _raw(form: Form, row: RawRow) -> tuple[str, str]:
    """What a rejected row has in the columns of its source, for a reader of the rejected rows."""
    values = row.value if isinstance(row.value, Mapping) else {}
    cells = [values.get(column) for column in form.columns]
    texts = ["" if cell is None else str(cell) for cell in cells]
    return texts[0], texts[1] if len(texts) > 1 else ""
