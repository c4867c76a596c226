"""What a pipeline file holds: the folder of the run and the commands of its stages."""

from pathlib import Path

from tinymathreason.config import config


@config
class Pipeline:
    """A run's folder and its stages."""

    run: Path
    """Folder that holds every output and record of the run."""
    stages: dict[str, str]
    """Commands by name, in order. ``$DATA`` in them is taken from the environment."""
    report: list[str]
    """Commands that write and print the results, one after the other; they run every time."""
    next: str
    """Command that a user would type next; it is only printed."""
