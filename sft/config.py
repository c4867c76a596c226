"""The project's own configuration keys of SFT, DPO and GRPO, beside those of TRL."""

import math
from dataclasses import field
from pathlib import Path
from typing import ClassVar, Literal

from data_prep.recipe import BenchmarkQuestions, check_license
from tinymathreason.chatml import TEMPLATE
from tinymathreason.config import config, nearest

CHATML = Path("chatml")
"""Value of ``chat_template`` that names the project's template."""


@config
class Selection:
    """How many examples of a source are kept, and which: `sft.selection`."""

    examples: int
    """Most examples to keep."""
    level: str | None = None
    """A column whose values share the budget equally, such as MATH's ``level`` or the set that a
    question comes from. Default: all rows are of one level."""
    difficulty: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0, 1.0])
    """Shares of a level's budget by difficulty. Its rows are sorted by the tokens of their answers
    and cut into as many classes of equal size as there are shares; the first is the easiest."""

    def __post_init__(self) -> None:
        if self.examples < 1:
            raise ValueError(f"select.examples must be at least 1 (got {self.examples})")
        if not any(self.difficulty) or not all(0 <= s < math.inf for s in self.difficulty):
            raise ValueError(
                f"select.difficulty needs shares of 0 or more, and one above 0 "
                f"(got {self.difficulty})"
            )


@config
class QuestionSource:
    """One set of questions and worked answers."""

    format: Literal["jsonl", "json", "parquet", "arithmetic"]
    """How the rows are stored; ``arithmetic`` generates them instead of reading them."""
    path: str | None = None
    """A glob of local or remote files (``hf://datasets/ORG/NAME@COMMIT/FILE``). Not allowed for
    ``arithmetic``."""
    question: str = "question"
    """The column that holds the question."""
    answer: str = "answer"
    """The column that holds the worked answer."""
    messages: str | None = None
    """The column that holds a conversation, as messages of OpenAI's or of ShareGPT's form. Default:
    without the columns of question and answer, ``messages``, ``conversations`` or ``conversation``;
    without these, ``prompt`` and ``completion``, which are texts or messages."""
    turns: Literal["all", "last"] = "all"
    """Which of the assistant's turns the loss sees: all, or the last. Those of a ``prompt`` are not
    seen."""
    final_line: bool | None = None
    """Whether the last answer must tell a final answer, which then gets a line of its own:
    ``#### 42``. Default: true for questions with answers, false for messages and prompts."""
    expected: str | None = None
    """The column that holds the final answer by itself, if the set has one. A solution whose final
    answer is another number is rejected; one without a final answer gets this one."""
    checkable: bool = False
    """Whether to reject questions that ask for a proof, and final answers that are sentences."""
    strict: bool = False
    """Whether a row that cannot be read as text ends the preparation. Otherwise it is rejected, and
    its reason counted."""
    group: str | None = None
    """A column whose value is the same in all variants of a question: variants go to the same
    split. Default: the question itself."""
    where: dict[str, str | list[str]] = field(default_factory=dict)
    """Take only rows whose column matches the pattern, such as ``source: data/CoT/*``, or one of
    several patterns."""
    examples: int | None = None
    """Number of rows to read; None reads all. Required for ``arithmetic``."""
    select: Selection | None = None
    """Which of the rows to keep, by difficulty and diversity; None keeps all. Only for supervised
    fine-tuning."""
    license: str | None = None
    """The set's licence, by its name on the hub, for the manifest and the model's card."""
    generated_by: list[str] = field(default_factory=list)
    """Models that wrote its solutions, by their names on the hub. Such a model's licence can bind a
    model that learns from its text. For the manifest and the card too."""

    def __post_init__(self) -> None:
        check_license(self.license)
        if (self.format == "arithmetic") != (self.path is None):
            raise ValueError("path is needed, except for format arithmetic, which has none")
        if self.format == "arithmetic" and self.examples is None:
            raise ValueError("format arithmetic is endless: set examples, the number of rows")
        if self.format == "arithmetic" and (self.group or self.where or self.messages):
            raise ValueError("group, where and messages name columns; format arithmetic has none")
        if self.format == "arithmetic" and self.select is not None:
            raise ValueError("select chooses from rows that are read; format arithmetic has none")
        if self.examples is not None and self.examples < 1:
            raise ValueError(f"examples must be at least 1 (got {self.examples})")


@config
class Accuracy:
    """How the accuracy of greedy answers is measured during training."""

    task: str | None = None
    """A task of `evaluation.tasks`. None takes held-out examples whose answer is a number, so that
    a model can be selected without touching a benchmark."""
    data: str | None = None
    """The task's data file, local or remote, if it needs one."""
    problems: int = 100
    """Number of problems to answer."""
    every: int = 500
    """Optimiser steps between two measurements; the last step is always measured."""
    max_new_tokens: int = 256
    """Most tokens of an answer; a longer solution is cut and counts as wrong."""
    batch_size: int = 50
    """Problems answered in one batch."""

    def __post_init__(self) -> None:
        for name in ("problems", "every", "max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 (got {getattr(self, name)})")


@config
class TuningData:
    """The keys that all three algorithms have: question sets, chat template and accuracy."""

    HOLDS_OUT: ClassVar[bool] = False
    """Whether the algorithm holds out examples to evaluate on."""

    sources: dict[str, QuestionSource]
    """The question sets to join, by name. If several contain the same question, only the examples
    of the first one are kept."""
    decontaminate: list[BenchmarkQuestions] = field(default_factory=list)
    """Benchmarks whose questions must not be trained on."""
    near_duplicates: bool = True
    """Whether a question is also rejected when it nearly equals one of an earlier source."""
    data_seed: int = 0
    """Seed of the problem generator and of the choice of held-out questions."""
    chat_template: Path | None = None
    """Jinja file with the template of the conversations; ``chatml`` is the project's. Default: the
    model's own, or the project's for a model without one. DPO and GRPO need the template that the
    model was fine-tuned with. If the template has
    generation blocks, the loss sees the text in them; else the answers with their stop tokens."""
    keep_adapter: bool = False
    """Whether a trained adapter is also written by itself, to ``adapter`` under output_dir. The
    model always has it merged."""
    accuracy: Accuracy | None = None
    """Accuracy to measure during training; none by default."""

    def __post_init__(self) -> None:
        if self.chat_template == CHATML:
            self.chat_template = TEMPLATE
        if not self.sources:
            raise ValueError("sources must name at least one source")
        selecting = [name for name, source in self.sources.items() if source.select is not None]
        if selecting and not self.HOLDS_OUT:
            raise ValueError(f"sources.{selecting[0]}.select is for supervised fine-tuning only")
        if not 0 <= self.data_seed < 2**64:
            raise ValueError(f"data_seed must be between 0 and 2**64 - 1 (got {self.data_seed})")
        if self.chat_template is not None and not self.chat_template.is_file():
            raise ValueError(f"no template {self.chat_template}; accepted: {CHATML} or a file")
        if self.accuracy is not None and self.accuracy.task is None and not self.HOLDS_OUT:
            raise ValueError("accuracy: there are no held-out examples here; name a task")


@config
class SftData(TuningData):
    """The keys of supervised fine-tuning."""

    HOLDS_OUT: ClassVar[bool] = True

    eval_fraction: float = 0.01
    """Share of the questions held out for the evaluation loss, chosen by hash."""
    max_example_tokens: int | None = None
    """Longest example in tokens, with its question; a longer one is rejected, never cut. Default:
    ``max_length``, the length of a packed row."""
    data_dir: Path | None = None
    """Folder of the prepared examples; default: ``data`` under output_dir."""
    compile_layers: bool | None = None
    """Whether torch.compile fuses the operations of each decoder layer. By default it does for
    packed rows on an NVIDIA GPU, beside variable-length attention."""

    def __post_init__(self) -> None:
        TuningData.__post_init__(self)
        if not 0 < self.eval_fraction < 1:
            raise ValueError(f"eval_fraction must be between 0 and 1 (got {self.eval_fraction})")
        if self.max_example_tokens is not None and self.max_example_tokens < 1:
            raise ValueError(
                f"max_example_tokens must be at least 1 (got {self.max_example_tokens})"
            )


@config
class Sampling:
    """How answers are sampled from the model that DPO starts from."""

    samples: int = 8
    """Completions per problem."""
    temperature: float = 1.0
    """Sampling temperature."""
    top_p: float = 1.0
    """Nucleus sampling: draw from the most likely tokens that together have this probability."""
    max_new_tokens: int = 256
    """Most tokens of a completion; one that has not ended by then is in no pair."""
    batch_size: int | None = None
    """Completions sampled in one batch; by default 128 on a CPU, and on a GPU as many as fit its
    memory."""
    cache: Literal["auto", "dynamic", "static"] = "auto"
    """Keys and values of the tokens so far: ``dynamic`` grows with each token; ``static`` has a
    fixed size, so that the step can be compiled. ``auto`` is ``static`` on a GPU for batches of up
    to 256 completions, else ``dynamic``."""
    seed: int = 0
    """Random seed; the same seed gives the same completions on the same machine."""

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ValueError(f"samples must be at least 2, for a pair (got {self.samples})")
        if not (self.temperature > 0 and 0 < self.top_p <= 1):
            raise ValueError("temperature must be above 0, and top_p too and at most 1")
        if self.max_new_tokens < 1 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError("max_new_tokens and batch_size must be at least 1")


@config
class DpoData(TuningData):
    """The keys of direct preference optimisation."""

    sampling: Sampling = field(default_factory=Sampling)
    """How the answers for the pairs are sampled."""
    pairs_per_problem: int = 4
    """Most pairs of a problem, so that problems of medium difficulty do not dominate."""
    pairs_dir: Path | None = None
    """Folder of the pairs; default: ``pairs`` under output_dir."""

    def __post_init__(self) -> None:
        TuningData.__post_init__(self)
        if self.pairs_per_problem < 1:
            raise ValueError(f"pairs_per_problem must be at least 1 (got {self.pairs_per_problem})")


@config
class GrpoData(TuningData):
    """The keys of group relative policy optimisation."""

    rewards: dict[str, float]
    """Weights of the rewards of `sft.rewards`, by name; the reward of an answer is their weighted
    sum."""

    def __post_init__(self) -> None:
        from sft.rewards import REWARDS

        TuningData.__post_init__(self)
        if not self.rewards:
            raise ValueError(f"rewards must name at least one of: {', '.join(sorted(REWARDS))}")
        for name in self.rewards.keys() - REWARDS.keys():
            raise ValueError(f"rewards: unknown {name!r}; {nearest(name, REWARDS)}")
