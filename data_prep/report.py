"""A manifest in; report.md and its pictures out."""

from pathlib import Path
from typing import Any

from data_prep.peers import bytes_per_token
from tinymathreason.files import new_file, write_text
from tinymathreason.tables import markdown_table


def write(folder: Path, manifest: dict[str, Any], samples: dict[str, Any]) -> None:
    """Write ``report.md``, ``tokens.png``, ``rejected.png`` and ``lengths.png`` into a mixture.

    ``samples`` holds, by source, a few kept texts and a few rejected documents by reason.
    """
    sources = manifest["sources"]
    plot(folder, sources)
    parts = [
        f"# Mixture {manifest['recipe']['output_dir']}",
        table(manifest),
        budget(manifest),
        "![tokens](tokens.png)\n\n![rejected](rejected.png)\n\n![lengths](lengths.png)",
        "## Rejected, by reason\n\n" + reasons(sources),
        "## Bytes per token, on held-out documents\n\n" + bytes_per_token(folder, sources),
        "## Samples",
    ]
    for name, shown in samples.items():
        parts.append(f"### {name}: kept")
        parts += [_quoted(text) for text in shown["kept"]]
        for reason, lines in shown["rejected"].items():
            parts.append(f"### {name}: rejected, {reason}")
            for line in lines:
                of = f", of `{line['of']}`" if line.get("of") else ""
                parts.append(f"`{line['id']}`{of}\n\n{_quoted(line['text'])}")
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")


def _quoted(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    (no text)"


def table(manifest: dict[str, Any]) -> str:
    """Documents, bytes and tokens by source, as a Markdown table."""
    rows = []
    weights = {name: source["weight"] for name, source in manifest["recipe"]["sources"].items()}
    total = sum(weights.values())
    for name, entry in manifest["sources"].items():
        documents = entry["documents"]
        rejected = sum(documents["rejected"].values())
        rows.append(
            [
                name,
                *(f"{n:,}" for n in (documents["read"], documents["kept"], rejected)),
                f"{entry['bytes'] / 1e6:,.1f}",
                f"{entry['tokens']:,}",
                f"{entry['bytes'] / entry['tokens']:.2f}",
                f"{weights[name] / total:.1%}",
                f"{manifest['epochs'][name]:.2f}",
            ]
        )
    head = ["source", "read", "kept", "rejected", "MB", "tokens", "bytes per token", "weight"]
    return markdown_table([*head, "passes"], rows)


def budget(manifest: dict[str, Any]) -> str:
    """What the training may draw, in words; warns of a source that is repeated too often."""
    most = manifest["recipe"]["max_epochs"]
    words = (
        f"At these weights one pass of the source that ends first is "
        f"{manifest['tokens_until_a_source_ends']:,} tokens. MaxText ends the whole training when "
        f"any source has been read num_epoch times: for {manifest['token_budget']:,} tokens set "
        f"num_epoch to {manifest['num_epoch']} or more, and end by steps."
    )
    for name, passes in manifest["epochs"].items():
        if passes > most:
            words += (
                f"\n\nWarning: {name} would be read {passes:.2f} times, max_epochs is {most:g}; "
                "lower its weight or the budget."
            )
    return words


def reasons(sources: dict[str, Any]) -> str:
    """Rejected documents by source and reason, with their share, as a Markdown table."""
    names = sorted(
        {reason for entry in sources.values() for reason in entry["documents"]["rejected"]}
    )
    rows = []
    for name, entry in sources.items():
        found, read = entry["documents"]["rejected"], entry["documents"]["read"]
        cells = [f"{found.get(r, 0):,} ({found.get(r, 0) / read:.2%})" for r in names]
        rows.append([name, *cells])
    return markdown_table(["source", *names], rows) if names else "None."


def plot(folder: Path, sources: dict[str, Any]) -> None:
    """Draw tokens by source, rejected documents by reason, and document lengths, as PNGs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    def save(name: str) -> None:
        with new_file(folder / name) as aside:
            # The version of the library in a picture would be its only difference.
            figure.savefig(aside, dpi=100, format="png", metadata={"Software": None})
        pyplot.close(figure)

    names = list(sources)
    figure, axes = pyplot.subplots(figsize=(7, 1.2 + 0.5 * len(names)), layout="constrained")
    axes.barh(names, [sources[name]["tokens"] for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("tokens kept")
    save("tokens.png")

    figure, axes = pyplot.subplots(figsize=(7, 1.6 + 0.5 * len(names)), layout="constrained")
    left = [0.0] * len(names)
    found = sorted({r for entry in sources.values() for r in entry["documents"]["rejected"]})
    for reason in found:
        shares = [
            sources[name]["documents"]["rejected"].get(reason, 0)
            / max(1, sources[name]["documents"]["read"])
            for name in names
        ]
        axes.barh(names, shares, left=left, label=reason)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("share of the documents read that is rejected")
    if found:
        axes.legend(fontsize="small")
    save("rejected.png")

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name in names:
        powers = {int(power): count for power, count in sources[name]["lengths"].items()}
        axes.plot(
            [2 ** (power + 0.5) for power in powers], list(powers.values()), marker="o", label=name
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens of a document")
    axes.set_ylabel("documents kept")
    axes.legend(fontsize="small")
    save("lengths.png")
