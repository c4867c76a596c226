"""The keys of an SFT configuration that are ours; the others are TRL's own."""

from pathlib import Path
from typing import Literal

from tinymathreason.config import config

TEMPLATES = Path(__file__).parent / "chat_templates"


@config
class SftSource:
    """One set of questions and worked answers."""

    format: Literal["jsonl", "json", "parquet", "arithmetic"]
    """How the rows are stored; ``arithmetic`` makes them with `data_prep.arithmetic`."""
    path: str | None = None
    """A glob of files; not for ``arithmetic``."""
    question: str = "question"
    """The column that holds the question."""
    answer: str = "answer"
    """The column that holds the worked answer."""
    examples: int | None = None
    """Read this many rows; None reads all. ``arithmetic`` needs it."""

    def __post_init__(self) -> None:
        if (self.format == "arithmetic") != (self.path is None):
            raise ValueError("path is needed, except for format arithmetic, which has none")
        if self.format == "arithmetic" and self.examples is None:
            raise ValueError("the generator is endless: say how many examples it gives")


@config
class SftData:
    """Everything that decides the examples and their form."""

    sources: dict[str, SftSource]
    """Sets to join, by the name their counts will have."""
    chat_template: Path = TEMPLATES / "chatml.jinja"
    """Jinja template with a generation block around what the loss sees."""
    eval_fraction: float = 0.01
    """Share of the questions held out for the evaluation loss, chosen by their hash."""
    data_seed: int = 0
    """Seed of the generator and of the choice of held-out questions."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources must name at least one source")
        if not 0 < self.eval_fraction < 1:
            raise ValueError(f"eval_fraction must be between 0 and 1 (got {self.eval_fraction})")
        if not self.chat_template.is_file():
            shipped = ", ".join(sorted(str(path) for path in TEMPLATES.glob("*.jinja")))
            raise ValueError(f"no template {self.chat_template}; shipped: {shipped}")
