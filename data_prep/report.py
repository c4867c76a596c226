"""The report of a mixture: ``report.md`` and its pictures, from the manifest."""

import re
from pathlib import Path
from typing import Any

from data_prep.stages.artifacts import RejectedDocument
from tinymathreason.files import new_file, write_text
from tinymathreason.records.mixture import ClassifierRecord, Mixture, SourceRecord
from tinymathreason.tables import markdown_table


def write(folder: Path, manifest: Mixture, samples: dict[str, Any]) -> None:
    """Write ``report.md``, ``tokens.png``, ``rejected.png`` and ``lengths.png`` into a mixture.

    ``samples`` holds, for each source, a few kept texts and a few rejected documents by reason.
    """
    sources = manifest.sources
    plot(folder, sources)
    parts = [
        f"# Mixture {manifest.recipe.output_dir}",
        *([f"Recipe: {manifest.recipe.name}"] if manifest.recipe.name else []),
        table(manifest),
        budget(manifest),
        "![tokens](tokens.png)\n\n![rejected](rejected.png)\n\n![lengths](lengths.png)",
        "## Rejected, by reason\n\n" + reasons(sources),
        "## Duplicates\n\n" + duplicates(sources),
        *(["## Classifiers\n\n" + classifiers(found)] if (found := manifest.classifiers) else []),
        "## Samples",
    ]
    for name, of_source in samples.items():
        parts.append(f"### {name}: kept")
        parts += [_quoted(text) for text in of_source["kept"]]
        for reason, lines in of_source["rejected"].items():
            parts.append(f"### {name}: rejected, {reason}")
            parts += [_rejected(line) for line in lines]
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")


def _rejected(line: RejectedDocument) -> str:
    """A rejected document: its id, why it was rejected, and the beginning of its text."""
    head = _code(line["id"])
    if "duplicate_of" in line:
        head += f", duplicate of {_code(line['duplicate_of'])}"
    if "question" in line:
        head += f", contains {_code(line['question'])}"
    return f"{head}\n\n{_quoted(line['text'])}"


def _code(text: str) -> str:
    """A text as inline code on one line, in which nothing is Markdown or HTML."""
    line = " ".join(text.split())
    if "`" not in line:
        return f"`{line}`" if line else "(none)"
    fence = "`" * (1 + max(map(len, re.findall("`+", line))))
    return f"{fence} {line} {fence}"


def _quoted(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    (no text)"


def table(manifest: Mixture) -> str:
    """Documents, bytes, tokens, licence and generators of each source, as a Markdown table."""
    shares = manifest.recipe.shares
    rows = []
    for name, entry in manifest.sources.items():
        documents = entry.documents
        rows.append(
            [
                name,
                f"{documents.read:,}",
                f"{documents.kept:,}",
                f"{sum(documents.rejected.values()):,}",
                f"{entry.bytes / 1e6:,.1f}",
                f"{entry.tokens:,}",
                f"{entry.bytes / entry.tokens:.2f}",
                f"{shares[name]:.1%}",
                f"{manifest.epochs[name]:.2f}",
                manifest.recipe.sources[name].license or "not stated",
                ", ".join(manifest.recipe.sources[name].generated_by),
            ]
        )
    head = ["source", "read", "kept", "rejected", "MB", "tokens", "bytes per token", "weight"]
    return markdown_table([*head, "passes", "licence", "text by"], rows)


def budget(manifest: Mixture) -> str:
    """How much training may draw, in words, with a warning for a source that repeats too often."""
    most = manifest.recipe.max_epochs
    words = (
        f"At these weights, one pass over the source that ends first is "
        f"{manifest.tokens_until_a_source_ends:,} tokens. MaxText ends the whole training when "
        f"any source has been read num_epoch times: for {manifest.token_budget:,} tokens set "
        f"num_epoch to {manifest.num_epoch} or more, and end the training by steps."
    )
    for name, passes in manifest.epochs.items():
        if passes > most:
            words += (
                f"\n\nWarning: {name} would be read {passes:.2f} times, but max_epochs is "
                f"{most:g}; lower its weight or the budget."
            )
    return words


def reasons(sources: dict[str, SourceRecord]) -> str:
    """Rejected documents by source and reason, with their shares, as a Markdown table."""
    names = _reasons(sources)
    rows = []
    for name, entry in sources.items():
        rejected, read = entry.documents.rejected, entry.documents.read
        counts = [rejected.get(reason, 0) for reason in names]
        rows.append([name, *(f"{count:,} ({count / read:.2%})" for count in counts)])
    return markdown_table(["source", *names], rows) if names else "None."


def duplicates(sources: dict[str, SourceRecord]) -> str:
    """What was removed as duplicates, for each pair of sources, and what is left of each source.

    A document that duplicates several others counts once: for the closest kind of duplicate, and
    among these for the first document.
    """
    removed = {name: entry.duplicates or {} for name, entry in sources.items()}
    pairs = [
        [name, of, f"{each.documents:,}", f"{each.tokens:,}"]
        for name, by_source in removed.items()
        for of, each in by_source.items()
    ]
    if not pairs:
        return "None."
    left = []
    for name, by_source in removed.items():
        own = by_source[name].tokens if name in by_source else 0
        others = sum(each.tokens for of, each in by_source.items() if of != name)
        kept = sources[name].tokens
        before = kept + own + others
        shares = [f"{count:,} ({count / before:.2%})" for count in (own, others, kept)]
        left.append([name, f"{before:,}", *shares])
    head = ["source", "tokens before", "its own duplicates", "duplicates of other sources", "left"]
    return (
        markdown_table(["source", "duplicates of", "documents", "tokens"], pairs)
        + "\n\n"
        + markdown_table(head, left)
    )


def classifiers(found: dict[str, ClassifierRecord]) -> str:
    """How well each classifier told the held-out examples, at a probability of 0.5."""
    rows = []
    for name, each in found.items():
        trained = f"{each.positives:,} + {each.negatives:,}"
        held_out = f"{each.held_out_positives:,} + {each.held_out_negatives:,}"
        shares = (each.precision, each.recall, each.false_alarms)
        rows.append([name, trained, held_out, *("" if s is None else f"{s:.1%}" for s in shares)])
    head = ["classifier", "trained on", "held out", "precision", "recall", "false alarms"]
    return markdown_table(head, rows)


def _reasons(sources: dict[str, SourceRecord]) -> list[str]:
    return sorted({reason for entry in sources.values() for reason in entry.documents.rejected})


def plot(folder: Path, sources: dict[str, SourceRecord]) -> None:
    """Draw tokens by source, rejected documents by reason, and document lengths, as PNGs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    def save(name: str) -> None:
        with new_file(folder / name) as aside:
            # Without matplotlib's version, the same data gives the same bytes.
            figure.savefig(aside, dpi=100, format="png", metadata={"Software": None})
        pyplot.close(figure)

    names = list(sources)
    figure, axes = pyplot.subplots(figsize=(7, 1.2 + 0.5 * len(names)), layout="constrained")
    axes.barh(names, [sources[name].tokens for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("tokens kept")
    save("tokens.png")

    figure, axes = pyplot.subplots(figsize=(7, 1.6 + 0.5 * len(names)), layout="constrained")
    left = [0.0] * len(names)
    for reason in _reasons(sources):
        shares = [
            sources[name].documents.rejected.get(reason, 0) / max(1, sources[name].documents.read)
            for name in names
        ]
        axes.barh(names, shares, left=left, label=reason)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("share of the documents read that is rejected")
    if _reasons(sources):
        axes.legend(fontsize="small")
    save("rejected.png")

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name in names:
        powers = {int(power): count for power, count in sources[name].lengths.items()}
        axes.plot(
            [2 ** (power + 0.5) for power in powers], list(powers.values()), marker="o", label=name
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens of a document")
    axes.set_ylabel("documents kept")
    axes.legend(fontsize="small")
    save("lengths.png")
