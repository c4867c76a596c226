"""Where an artefact comes from; a part of every record."""

from tinymathreason.records.base import Part, Positive, Time


class Processor(Part):
    """The processor that computed it."""

    name: str
    """The maker's name."""
    machine: str
    """The architecture, such as ``x86_64``."""
    instruction_sets: list[str]
    """Those on which speed or the last bits of a sum depend."""
    cores: Positive
    """Cores that the process could use."""
    limits: dict[str, str]
    """Environment variables that have a library use less of the processor."""
    threads: Positive | None
    """Threads that torch computed with; null where torch was not loaded."""


class Provenance(Part):
    """The state of the code and of the machine, and the command."""

    commit: str | None
    """The git commit, ``-dirty`` when files differed; null outside a checkout."""
    command: list[str]
    """The words of the command line."""
    versions: dict[str, str]
    """Installed versions, by package."""
    processor: Processor
    """The processor that computed it."""
    time: Time
    """When the record was made."""
