"""Command: write a model's card from the records of its run, and from nothing else.

python -m release.card --run RUN_DIR --output DIR [--name NAME] [--author AUTHOR]

A figure without a record is left out and named on the terminal.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release.mixtures import add_argument
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import write_text

if TYPE_CHECKING:
    from release.cards.left_out import LeftOut
    from release.records import Folders, RunRecords

CARD = "README.md"
TOY = 50_000_000
"""A card says that a model of fewer parameters is of no use but as a demonstration."""


@dataclass(frozen=True)
class Labels:
    """What no record has: the user gives it."""

    name: str | None = None
    author: str | None = None
    license: str | None = None
    base_model: str | None = None
    """``ORG/NAME[@REVISION]`` of the open model that this one began with."""


def card(folders: "Folders", labels: Labels) -> "tuple[str, LeftOut]":
    """The whole text of a card, and what it leaves out.

    Raises `InputError` for a licence that the hub does not know, a name or an author that cannot
    be seen, and records that are damaged or of several models.
    """
    from release.cards import metadata, scores, sources, training
    from release.cards.left_out import LeftOut
    from release.checks.weights import Tensors
    from release.markdown import one_line, render
    from release.origin import beginning, described, licence
    from release.recipes import sentences, summary
    from release.records import ModelConfig, RunRecords
    from tinymathreason.provenance import asking_hash, model_hash

    for flag, text in (("--name", labels.name), ("--author", labels.author)):
        if text is not None and not one_line(text):
            raise InputError(f"{flag} {text!r}: has no visible character")
    left_out = LeftOut()
    if labels.author is None:
        left_out.add("author, citation", "no record tells them; give --author")
    config = ModelConfig.load(folders.model)
    records = RunRecords.load(folders)
    check_same_model(records, config)
    began = beginning(records, labels.base_model)
    license_keys = licence(labels.license, began)
    left_out.add_missing(records, began)
    tensors, sha256 = Tensors(folders.model), model_hash(folders.model)
    made = records.tuned or records.conversion
    tuned = records.tuned and training.tuning(records.tuned, left_out)
    data = sources.pretraining(records, left_out)
    if tuned:
        data["Fine-tuning"] = sources.tuning(records, left_out)
    parts = [part for part in data.values() if part]
    measured = scores.scores(records, sha256, began.folder if began else None, left_out)
    hours, open_starts = training.chip_hours(records.starts)
    family = (began.name or "Model") if began else None
    name = one_line(labels.name or default_name(tensors.parameters, folders.tuning, family))
    versions = made.provenance.versions if made else {}
    text = render(
        "card.md.jinja",
        name=name,
        author=labels.author,
        license=license_keys["license"],
        text_terms=sources.text_terms((m for part in parts for m in part["generators"]), name),
        began=described(began) if began else None,
        config=config,
        parameters=tensors.parameters,
        dtypes=", ".join(sorted(tensors.dtypes)),
        sha256=sha256,
        toy=tensors.parameters < TOY,
        pretraining=records.configuration,
        start=records.starts[-1] if records.starts else None,
        batch=training.batch(records),
        trained=(
            training.trained(records, left_out)
            if records.pretrained or not began
            else training.TrainingEvents()
        ),
        parity=records.conversion and records.conversion.parity,
        tuned=records.tuned,
        tuning=tuned,
        stages=training.stages(records, measured.commands, left_out),
        recipes=sentences(summary(records)),
        hours=hours,
        open_starts=open_starts,
        data=data,
        contamination=[part["contamination"] for part in parts if part["contamination"]],
        scores=measured,
        versions=", ".join(f"{p} {versions[p]}" for p in training.PACKAGES if p in versions),
        citation=citation(name, labels.author, made.provenance.time[:4] if made else None),
    )
    datasets = [dataset for part in parts for dataset in part["datasets"]]
    front = metadata.front_matter(
        records,
        name,
        license_keys,
        datasets,
        measured.results,
        began.name if began else None,
        config.architectures[0],
    )
    return metadata.finished(front, text, sha256, asking_hash(folders.model)), left_out


def default_name(parameters: int, tuning: str | None, family: str | None = None) -> str:
    """A name with how the model was tuned: that of the open model, or the project's with the size.

    ``family`` is the name of the open model that it began with, if it did.
    """
    method = tuning.removesuffix(".json") if tuning else "base"
    if family and "/" in family:
        return f"{family.rpartition('/')[2]}-{method}"
    size, unit = next(
        (parameters / one, letter)
        for one, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K"), (1, ""))
        if parameters >= one
    )
    return f"{family or 'TinyMathReason'}-{size:.0f}{unit}-{method}"


def citation(name: str, author: str | None, year: str | None) -> str | None:
    """A BibTeX entry; None without an author."""
    from release.markdown import one_line

    if author is None:
        return None
    fields = {"author": author, "title": name, "year": year}
    lines = [
        f"  {field} = {{{one_line(re.sub(r'[{}\\\\]', '', value))}}},"
        for field, value in fields.items()
        if value
    ]
    key = re.sub(r"[^a-z0-9]+", "", name.lower()) or "model"
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def check_same_model(records: "RunRecords", config: Any) -> None:
    """Raise `InputError` when the records are of several models.

    Where the base model's weights still exist, they must be those that the tuning started from.
    """
    from release.lineage import lineage
    from tinymathreason.provenance import model_hash

    folders, tuned, trained = records.folders, records.tuned, records.configuration
    if (
        tuned
        and (folders.base / "config.json").is_file()
        and tuned.base != model_hash(folders.base)
        and folders.base not in lineage(folders.model)
    ):
        raise InputError(
            f"{folders.base}: {folders.model} was not tuned from it; name its base by --base"
        )
    sizes = {"base_emb_dim": "hidden_size", "base_num_decoder_layers": "num_hidden_layers"}
    for theirs, ours in sizes.items() if trained else ():
        size, own = getattr(trained, theirs), getattr(config, ours)
        if size != own:
            raise InputError(
                f"{folders.pretrain}: its {theirs} is {size}, the model's {ours} {own}; name the "
                "run that trained it by --pretrain"
            )


def check_replaceable(path: Path) -> None:
    """Raise `InputError` unless there is no card, or one of ours that nobody has edited since."""
    from release.cards.metadata import edited, statement

    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    line = statement(text)
    if line is None:
        raise InputError(f"{path}: was not made by release.card; move it away first")
    if edited(text, line):
        raise InputError(f"{path}: was edited since release.card made it; move it away first")


def folders_of(arguments: argparse.Namespace) -> "Folders":
    """The folders of the records; `InputError` without a model."""
    from release.records import Folders

    named = {
        key: getattr(arguments, key)
        for key in ("pretrain", "base", "model", "evaluation")
        if getattr(arguments, key) is not None
    }
    folders = replace(Folders.of(arguments.run), **named).with_mixtures(arguments.mixture or ())
    if arguments.model is None and not (folders.model / "config.json").is_file():
        folders = replace(folders, model=folders.base)
    if not (folders.model / "config.json").is_file():
        raise InputError(f"{folders.model}: no model there; name its folder by --model or --base")
    return folders


def main(argv: Sequence[str]) -> None:
    """Parse the command line, write the card and print what it leaves out."""
    parser = argparse.ArgumentParser(
        prog="release.card", description="Write a model's card from the records of its run."
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of a pipeline's run")
    parser.add_argument("--output", type=Path, required=True, help="folder for README.md")
    add_argument(parser)
    parser.add_argument("--pretrain", type=Path, help="default: RUN/pretrain")
    parser.add_argument("--base", type=Path, help="default: RUN/base")
    parser.add_argument("--model", type=Path, help="default: RUN/sft/model, else the base")
    parser.add_argument("--evaluation", type=Path, help="default: RUN/evaluation")
    parser.add_argument("--name", help="default: TinyMathReason and the size that was counted")
    parser.add_argument("--author", help="who made the model; without one there is no citation")
    parser.add_argument(
        "--license",
        help="of the weights, as the hub names it; default: that of the open model that it began "
        "with, else apache-2.0",
    )
    parser.add_argument(
        "--base-model",
        metavar="ORG/NAME[@REVISION]",
        help="the open model that it began with, where that was a folder",
    )
    arguments = parser.parse_args(argv)
    output: Path = arguments.output / CARD
    check_replaceable(output)
    folders = folders_of(arguments)
    labels = Labels(arguments.name, arguments.author, arguments.license, arguments.base_model)
    text, left_out = card(folders, labels)
    for line in left_out.lines():
        print(line)
    if not folders.tuning:
        print(f"{folders.model} is a base model: the card has no fine-tuning")
    write_text(output, text)
    print(f"{output} written")


if __name__ == "__main__":
    cli.run(main)
