"""The report of a ladder: everything that a forecast needs."""

import math
from typing import Annotated, ClassVar, Literal

import pydantic

from tinymathreason.records.base import Part, Positive, Record, Sha256, Share
from tinymathreason.records.pretraining import MixtureHash
from tinymathreason.records.provenance import Provenance

_Above = Annotated[float, pydantic.Field(gt=0)]
_Ends = Annotated[list[_Above], pydantic.Field(min_length=2, max_length=2)]
LawParameters = Annotated[list[float], pydantic.Field(min_length=7, max_length=7)]
"""log E, log A, log B, alpha, beta, gamma and kappa: see `pretrain.ladder.law`."""
LinkParameters = Annotated[list[float], pydantic.Field(min_length=3, max_length=3)]
"""Floor, slope and middle: see `pretrain.ladder.link`."""


class Interval(Part):
    """An estimate with the interval in which a new run's measurement is expected."""

    value: float
    """The estimate: the median of the draws."""
    low: float
    """Lower bound."""
    high: float
    """Upper bound."""


class HeldOutRun(Part):
    """A run that was foretold by a fit without any run of its size."""

    name: str
    """The run."""
    size: str
    """Its size, which was left out."""
    measured: float
    """What it measured."""
    foretold: Interval
    """What the other sizes foretell."""

    @property
    def error(self) -> float:
        """The forecast minus the measurement."""
        return self.foretold.value - self.measured

    @property
    def relative_error(self) -> float:
        """The error as a share of the measurement; infinite where nothing was measured."""
        return self.error / self.measured if self.measured else math.inf

    @property
    def inside(self) -> bool:
        """Whether the measurement is inside the interval."""
        return self.foretold.low <= self.measured <= self.foretold.high


class ScalingLaw(Part):
    """A law of one measured value, positive and falling, in the size of the model and the tokens.

    Of the left-out runs, those of the largest size are the test of a forecast, because they lie
    outside of what was fitted.
    """

    target: str
    """The column of the table: ``loss``, or ``bits/TASK``."""
    unit: str
    """Nats a token, or bits a byte."""
    form: str
    """A name of `pretrain.ladder.law.FORMS`."""
    parameters: LawParameters
    """Of all runs."""
    bootstrap: Annotated[list[LawParameters], pydantic.Field(min_length=1)]
    """Of each resample of the runs."""
    residuals: Annotated[list[float], pydantic.Field(min_length=1)]
    """Log of the measured value minus that of the law, a run each, inflated for the parameters."""
    errors: dict[str, Annotated[float, pydantic.Field(ge=0)]]
    """By form: root mean square of the relative errors of the sizes left out in turn."""
    widening: Annotated[float, pydantic.Field(ge=1)]
    """Factor on the intervals, so that they cover the errors of the sizes that were left out."""
    held_out: list[HeldOutRun]
    """Every run, foretold without its size."""


class AccuracyLink(Part):
    """The accuracy of a task as a function of the likelihood of its solutions."""

    parameters: LinkParameters
    """Of all runs."""
    bootstrap: Annotated[list[LinkParameters], pydantic.Field(min_length=1)]
    """Of each resample of the runs, the same runs as those of the law's bootstrap."""
    dispersion: Annotated[float, pydantic.Field(ge=1)]
    """Variance of the accuracies around the curve, as a multiple of the binomial variance."""
    problems: Positive
    """Problems on which the ladder's runs were measured."""


class TaskLaw(Part):
    """What the ladder knows of a task."""

    bits: ScalingLaw
    """Of the bits a byte of the gold solutions."""
    link: AccuracyLink | None
    """From bits to accuracy; null where it could not be fitted."""
    reason: str
    """Why it could not be fitted; empty when it was."""
    held_out: list[HeldOutRun]
    """Accuracies foretold without their size; empty without a link."""


class LadderRange(Part):
    """What the ladder's runs of the law spanned."""

    sizes: Annotated[list[str], pydantic.Field(min_length=1)]
    """Names of the sizes, smallest first."""
    parameters: _Ends
    """Least and most weights that multiply every token."""
    tokens: _Ends
    """Least and most tokens of training."""
    flops: _Ends
    """Least and most operations of a training."""
    runs: Positive
    """Finished runs that the law was fitted to."""


class LadderReport(Record):
    """``report.json`` of a ladder."""

    writer: ClassVar[str] = "pretrain.ladder fit"
    kind: Literal["ladder"] = "ladder"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    ladder: str
    """The ladder's file."""
    table_sha256: Sha256
    """Of the table of results."""
    vocab_size: Positive | None
    """Entries of the tokenizer of every run; null where it is not known."""
    tokenizer_sha256: Sha256 | None
    """Of the tokenizer of every run; null where it is not known."""
    mixture: MixtureHash | None
    """What every run of the law was trained on; null where it is not known."""
    shares: dict[str, Share]
    """Share of the tokens by source; empty where the mixture is not known."""
    level: Annotated[Share, pydantic.Field(gt=0)]
    """Of the intervals, such as 0.9."""
    range: LadderRange
    """What the runs of the law spanned."""
    diverged: list[str]
    """Runs that diverged. No fit contains them."""
    loss: ScalingLaw
    """Of the held-out loss."""
    tasks: dict[str, TaskLaw]
    """By task."""
    provenance: Provenance
    """Where it comes from."""
