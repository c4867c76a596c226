"""What all records share: their types, how they are written, and how damage is reported."""

import datetime
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import pydantic

from tinymathreason.cli import InputError
from tinymathreason.files import whole, write_text
from tinymathreason.parsing import parse_json

SHOWN = 60
"""Most characters of a wrong value that a message shows."""


def _is_time(text: str) -> str:
    if datetime.datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time needs its offset from UTC")
    return text


def plain(value: Any) -> Any:
    """A value as JSON has it.

    A tuple becomes a list, a key text, a number of NumPy or torch Python's, what is not finite
    null, and another object its text.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    return plain(value.item()) if hasattr(value, "item") else str(value)


Json = Annotated[pydantic.JsonValue, pydantic.BeforeValidator(plain)]
"""Any value of JSON, for what another program defines. A writer's NaN or infinity becomes null."""
Count = Annotated[int, pydantic.Field(ge=0, lt=2**63)]
Positive = Annotated[int, pydantic.Field(ge=1, lt=2**63)]
Seconds = Annotated[float, pydantic.Field(ge=0)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]
"""A share of one."""
Sha256 = Annotated[str, pydantic.StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
"""A SHA-256 in hexadecimal digits."""
Time = Annotated[str, pydantic.AfterValidator(_is_time)]
"""A time as ISO 8601 has it, with its offset from UTC."""


class Part(pydantic.BaseModel):
    """A part of a record. It cannot be changed, and knows every one of its fields.

    Types are exact: ``"1"`` and ``true`` are not numbers, and a number is finite. A whole number is
    accepted where a fraction is expected.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class OpenPart(Part):
    """A part in which another program has keys of its own, any value of JSON each."""

    model_config = pydantic.ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, Json] = pydantic.Field(init=False)

    @pydantic.model_serializer(mode="wrap")
    def _without_unset(self, serialize: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All keys but those that the other program did not give."""
        values: dict[str, Any] = serialize(self)
        return {
            key: value
            for key, value in values.items()
            if value is not None or key in self.model_fields_set
        }


class Record(Part):
    """The content of one file, or of one line of a file."""

    writer: ClassVar[str]
    """The command that writes it, for a user who has to write it again."""
    kind: str
    """Which record it is."""
    version: int
    """Of its fields; it grows when a reader of the old ones could not read the new ones."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The record in a file.

        Raises `InputError` naming the file and the field when the file is missing or is not wholly
        this record in this version.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; it is written by {cls.writer}")
        return cls.parse(path.read_bytes(), path)

    @classmethod
    def load_lines(cls, path: str | Path) -> Iterator[Self]:
        """The records in a file that has one a line; an `InputError` names the line too."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; it is written by {cls.writer}")
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield cls.parse(line, f"{path}:{number}")

    @classmethod
    def parse(cls, text: str | bytes, origin: object) -> Self:
        """The record in a text of JSON; `InputError` as `load`, naming ``origin``."""
        again = f"write it again with {cls.writer}"
        try:
            value = parse_json(text, origin, unique=True)
        except InputError as error:
            raise InputError(f"{error}; {again}") from error
        if not isinstance(value, dict):
            raise InputError(f"{origin}: holds {_shown(value)}, expected an object; {again}")
        for name in ("kind", "version"):
            expected = cls.model_fields[name].default
            given = value.get(name)
            if type(given) is not type(expected) or given != expected:
                state = f"is {_shown(given)}" if name in value else "is missing"
                raise InputError(f"{origin}: {name} {state}, expected {expected!r}; {again}")
        return validated(cls, value, origin, again)

    def as_json(self) -> dict[str, Any]:
        """The record as JSON has it."""
        return self.model_dump(mode="json")

    def text(self) -> str:
        """The record as indented JSON with sorted keys."""
        return json.dumps(self.as_json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def write(self, path: str | Path) -> None:
        """Write the file; a crash leaves the old content or the new."""
        write_text(path, self.text())


def validated[M: pydantic.BaseModel](model: type[M], value: Any, origin: object, again: str) -> M:
    """The model of a value of JSON; `InputError` naming the first wrong field and what to do."""
    if damage := _unreadable(value):
        raise InputError(f"{origin}: {damage}; {again}")
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        raise InputError(f"{origin}: {_first_error(error)}; {again}") from error


def write_lines(path: str | Path, records: Iterable[Record]) -> None:
    """Write a file of one record a line; a crash leaves the old content or the new."""
    lines = (json.dumps(record.as_json(), ensure_ascii=False) for record in records)
    write_text(path, "".join(f"{line}\n" for line in lines))


def check_replaceable(
    folder: Path, manifest: str, kind: type[Record], names: Iterable[str]
) -> None:
    """Raise `InputError` unless ``folder`` is absent, or wholly what a command of ours made.

    Its file ``manifest`` must be a record of this ``kind``, and it may hold the files of those
    ``names`` and no other: what a user put there is not ours to replace.
    """
    if not folder.exists():
        return
    other = f"{folder}: is not, or not only, made by {kind.writer}; name another folder"
    present = {path.name for path in whole(folder)} if folder.is_dir() else {folder.name}
    if manifest not in present or present - {manifest, *names}:
        raise InputError(other)
    try:
        kind.load(folder / manifest)
    except InputError as error:
        raise InputError(f"{other} ({error})") from error


def _unreadable(value: Any, field: tuple[str | int, ...] = ()) -> str:
    """The first value that no record can hold, in words; empty when there is none."""
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, float) and not math.isfinite(value):
        return f"{dotted(field)}: {value} is not a finite number"
    if isinstance(value, str) and not _is_text(value):
        return f"{dotted(field)}: {_shown(value)} is not a text of Unicode"
    if isinstance(value, dict):
        if wrong := next((key for key in value if not _is_text(key)), None):
            return f"{dotted((*field, wrong))}: its name is not a text of Unicode"
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return next((words for key, part in inner if (words := _unreadable(part, (*field, key)))), "")


def _is_text(text: str) -> bool:
    """Whether a text can be written as UTF-8: JSON can also name half of a pair of surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _first_error(error: pydantic.ValidationError) -> str:
    errors = error.errors(include_url=False)
    # A misspelt field also makes the right one missing; the misspelt one is reported.
    first = min(errors, key=lambda one: one["type"] != "extra_forbidden")
    field = dotted(first["loc"])
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] == "extra_forbidden":
        return f"{field} is not a field of this record"
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message} (got {_shown(first['input'])})"


def dotted(field: tuple[str | int, ...]) -> str:
    """The name of a field within others, such as ``attempts.0.started``, on one line."""
    return ".".join(_printable(str(part)) for part in field)


def _printable(name: str) -> str:
    return name if name and name.isprintable() and len(name) <= SHOWN else _shown(name)


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value, default=repr)  # ASCII, so on one line
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
