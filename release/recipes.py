"""Which recipes made a model: those of its mixtures, and the configurations of its tuning."""

from pathlib import Path

from release.lineage import AnyTuned, lineage, tuning_record
from release.records import RunRecords
from tinymathreason.records.pretraining import Phase
from tinymathreason.records.report import PhaseSummary, RecipeSummary

WHOLE = "mixture.json"
"""The file of a mixture with its recipe's own weights."""


def summary(records: RunRecords) -> RecipeSummary:
    """The recipes of a run's model, each in the order in which it was used."""
    return RecipeSummary(
        pretraining=[
            PhaseSummary(
                recipe=phase.recipe,
                weights=None if phase.file in (None, WHOLE) else phase.file,
                last_step=phase.last_step,
            )
            for phase in phases(records)
        ],
        tuning=configurations(records.folders.model),
    )


def phases(records: RunRecords) -> list[Phase]:
    """The phases of pretraining, oldest first: by the conversion, else by the model's tuning."""
    recorded = records.conversion.phases if records.conversion else []
    return recorded or (records.tuned.phases if records.tuned else [])


def configurations(model: Path) -> list[str]:
    """The names of the configurations by which a model was tuned, the first one first."""
    tunings = [record for folder in lineage(model) if (record := tuning_record(folder))]
    return [name for record in reversed(tunings) if (name := configuration(record))]


def configuration(tuned: AnyTuned) -> str | None:
    """The name of the configuration of a fine-tuning, by its command; None for another command."""
    words = tuned.provenance.command
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, _, value = word.partition("=")
        if flag == "--config" and (value or following):
            return Path(value or following).stem
    return None


def sentences(found: RecipeSummary | None) -> dict[str, str]:
    """The recipes of the ``mixture`` and of ``tuning`` in words; empty where no record tells."""
    found = found or RecipeSummary(pretraining=[], tuning=[])
    known = [phase for phase in found.pretraining if phase.recipe]
    mixtures = [
        f"{phase.recipe}{f' with the weights of {phase.weights}' if phase.weights else ''} "
        f"to step {phase.last_step:,}"
        for phase in known
    ]
    *earlier, last = mixtures or [""]
    return {
        "mixture": f"{'; then '.join(earlier)}; last phase: {last}" if earlier else last,
        "tuning": ", then ".join(found.tuning),
    }
