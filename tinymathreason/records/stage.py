"""The record of a pipeline's stage."""

from typing import Annotated, ClassVar, Literal

import pydantic

from tinymathreason.records.base import Count, Part, Record, Seconds, Sha256


class Attempt(Part):
    """One start of a stage."""

    started: Seconds
    """Seconds since the epoch."""
    ended: Seconds | None
    """Seconds since the epoch; null while it runs and after it was killed."""


class Stage(Record):
    """``stages/NAME.json`` in the folder of a run; it is written at each start and at each end."""

    writer: ClassVar[str] = "pipeline"
    kind: Literal["stage"] = "stage"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    command: str
    """The command as a shell reads it."""
    fingerprint: Sha256
    """Of the command and of the configurations that it names."""
    finished: bool
    """Whether the last attempt ended with status 0."""
    attempts: Annotated[list[Attempt], pydantic.Field(min_length=1)]
    """Every start, in order."""
    seconds: Seconds
    """Time of all ended attempts."""
    peak_bytes: Count
    """Largest resident memory of a process in an ended attempt."""
    commit: str | None
    """The git commit at the last start; null outside a checkout."""
