"""The data of pretraining in a report, by the phases that drew from it."""

from release.mixtures import titled
from tinymathreason.records.report import Report, SourceSummary


def data_by_phase(report: Report) -> dict[str, dict[str, SourceSummary] | None]:
    """The sources of each phase by its title, oldest first; None or empty without a record."""
    return titled(report.earlier_data, report.data)


def amounts(report: Report) -> str:
    """The tokens and sources of each phase that has a record; empty if none has.

    A phase is named where there are several.
    """
    if report.tokens.data is None:
        return ""
    words = []
    for title, sources in data_by_phase(report).items():
        if sources is None or (report.earlier_data and not sources):
            continue
        tokens, number = sum(source.tokens for source in sources.values()), len(sources)
        amount = f"{tokens:,} tokens from {number} source{'s' * (number != 1)}"
        words.append(f"{title}: {amount}" if report.earlier_data else amount)
    return "; ".join(words)
