"""Command: write a model's card from the records of its run, and from nothing else.

python -m release.card --run RUN_DIR --output DIR [--name NAME] [--author AUTHOR]

A figure without a record is left out and named on the terminal.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release.cards.facts import Facts, Places, say
from release.cards.metadata import LICENSES, edited, problems, stated, statement
from release.markdown import escape, fenced, one_line
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import write_text

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

TEMPLATE = Path(__file__).parent / "templates" / "card.md.jinja"
CARD = "README.md"
TOY = 50_000_000
"""Parameters below which a card says that the model is of no use but as a demonstration."""
_USE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "PATH"  # of this model, or its name on the hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
"""
_ASK = """\
messages = [{"role": "user", "content": "Tom has three apples and buys four more. How many now?"}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
"""
_CONTINUE = """\
inputs = tokenizer("The sum of three and four is", return_tensors="pt")
"""
_ANSWER = """\
tokens = model.generate(**inputs, max_length=model.config.max_position_embeddings)
print(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""


@dataclass(frozen=True)
class Given:
    """What no record tells: said by the user."""

    name: str | None = None
    author: str | None = None
    license: str = "apache-2.0"


def card(places: Places, given: Given) -> tuple[str, Facts]:
    """The whole text of a card, and what it had to leave out.

    Raises `InputError` for a licence that the hub does not know, and for records that are malformed
    or of several models.
    """
    from release.cards import figures, scores, sources, stages

    if given.license not in LICENSES:
        raise InputError(f"--license {given.license!r}: one of {', '.join(sorted(LICENSES))}")
    facts = Facts()
    if given.author is None:
        facts.lack("author, citation", "no record tells them; give --author")
    model = figures.architecture(facts, places)
    figures.check_same_model(facts, places)
    pretraining = figures.pretraining(facts, places)
    tuning = figures.tuning(facts, places) if places.tuning else None
    data = [("Pretraining", sources.mixture(facts, places))]
    if tuning:
        data.append(("Fine-tuning", sources.examples(facts, places)))
    measured = scores.scores(facts, places, model["sha256"])
    made = stages.stages(facts, places, measured["commands"])
    name = one_line(given.name or default_name(model["parameters"], places.tuning))
    found: dict[str, Any] = {
        "name": escape(name),
        "summary": summary(model, pretraining, tuning),
        "toy": model["parameters"] < TOY,
        "context": say("{:,}", model["context"]),
        "description": [
            *([("Developed by", escape(given.author))] if given.author else []),
            *model["description"],
            ("Language", "English"),
            ("License", given.license),
        ],
        "use": fenced(f"{_USE}{_ASK if tuning else _CONTINUE}{_ANSWER}", "python"),
        "pretraining": pretraining,
        "tuning": tuning,
        "parity": stages.parity(facts, places),
        "compute": made["table"],
        "chip_hours": stages.chip_hours(facts, places),
        "data": data,
        "contamination": [part["contamination"] for _, part in data if part.get("contamination")],
        "scores": measured,
        "commands": fenced(made["commands"], "bash") if made["commands"] else None,
        "commits": made["commits"],
        "versions": stages.versions(facts, places),
        "citation": citation(name, given.author, stages.year(facts, places)),
    }
    metadata = card_data(name, given.license, places, data, measured["results"])
    return finished(metadata, rendered(found), model["sha256"], model["asking"]), facts


def default_name(parameters: int, tuning: str | None) -> str:
    """The project's name, with the size that was counted and how the model was tuned."""
    size, unit = next(
        (parameters / one, letter)
        for one, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K"), (1, ""))
        if parameters >= one
    )
    return f"TinyMathReason-{size:.0f}{unit}-{tuning.removesuffix('.json') if tuning else 'base'}"


def summary(
    model: dict[str, Any], pretraining: dict[str, Any], tuning: dict[str, Any] | None
) -> str:
    """The card's first sentence."""
    words = f"A language model of {model['parameters']:,} parameters, pretrained from nothing"
    words += say(" on {:,} tokens", pretraining["tokens"]) or ""
    if tuning:
        words += f" and tuned by {tuning['method']}"
        words += say(" on {:,} worked problems", tuning["examples"]) or ""
    return f"{words}."


def citation(name: str, author: str | None, year: str | None) -> str | None:
    """A BibTeX entry; None without an author."""
    if author is None:
        return None
    key = re.sub(r"[^a-z0-9]+", "", name.lower()) or "model"
    fields = {"author": author, "title": name, "year": year}
    lines = [
        f"  {field} = {{{one_line(re.sub(r'[{}\\\\]', '', value))}}},"
        for field, value in fields.items()
        if value
    ]
    return fenced("\n".join([f"@misc{{{key},", *lines, "}"]), "bibtex")


def card_data(
    name: str,
    license_id: str,
    places: Places,
    data: Sequence[tuple[str, dict[str, Any]]],
    results: list[Any],
) -> "ModelCardData":
    """The metadata that the hub reads; datasets and base model only by their names there."""
    from huggingface_hub import ModelCardData

    from release.cards.figures import hub_base

    names = dict.fromkeys(name for _, part in data for name in part.get("datasets", []))
    return ModelCardData(
        language=["en"],
        license=license_id,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["math", "reasoning", *(["sft"] if places.tuning else []), "llama", "pytorch"],
        datasets=list(names) or None,
        metrics=sorted({result.metric_type for result in results}) or None,
        base_model=hub_base(places),
        model_name=name if results else None,
        eval_results=results or None,
    )


def rendered(found: dict[str, Any]) -> str:
    """The card's text below its metadata."""
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 (Markdown; `escape` has escaped the records' texts)
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(found).strip()


def finished(data: "ModelCardData", body: str, model: str, asking: str) -> str:
    """Metadata, text and the line by which we know our card again."""
    text = f"---\n{data.to_yaml()}\n---\n\n{body}\n\n"
    wrong = problems(text)
    if wrong:
        raise AssertionError(f"a card that the hub would refuse: {'; '.join(wrong)}")
    return f"{text}{stated(model, asking, text)}\n"


def check_replaceable(path: Path) -> None:
    """Raise `InputError` unless there is no card, or one of ours that nobody has edited since."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = statement(text)
    if found is None:
        raise InputError(f"{path}: was not made by release.card; move it away first")
    if edited(text, found):
        raise InputError(f"{path}: was edited since release.card made it; move it away first")


def places_of(arguments: argparse.Namespace) -> Places:
    """Where the records lie; `InputError` without a model."""
    run: Path = arguments.run
    base = arguments.base or run / "base"
    model = arguments.model or run / "sft" / "model"
    if arguments.model is None and not (model / "config.json").is_file():
        model = base
    if not (model / "config.json").is_file():
        raise InputError(f"{model}: no model there; name its folder by --model or --base")
    return Places(
        mixture=arguments.mixture or run / "mixture",
        pretrain=arguments.pretrain or run / "pretrain",
        base=base,
        model=model,
        evaluation=arguments.evaluation or run / "evaluation",
        stages=run / "stages",
    )


def main(argv: Sequence[str]) -> None:
    """Parse the command line, write the card and tell what it leaves out."""
    parser = argparse.ArgumentParser(
        prog="release.card", description="Write a model's card from the records of its run."
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of a pipeline's run")
    parser.add_argument("--output", type=Path, required=True, help="folder for README.md")
    parser.add_argument("--mixture", type=Path, help="default: RUN/mixture")
    parser.add_argument("--pretrain", type=Path, help="default: RUN/pretrain")
    parser.add_argument("--base", type=Path, help="default: RUN/base")
    parser.add_argument("--model", type=Path, help="default: RUN/sft/model, else the base")
    parser.add_argument("--evaluation", type=Path, help="default: RUN/evaluation")
    parser.add_argument("--name", help="default: TinyMathReason and the size that was counted")
    parser.add_argument("--author", help="who made the model; without one there is no citation")
    parser.add_argument(
        "--license", default="apache-2.0", help="of the weights; as the hub names it"
    )
    arguments = parser.parse_args(argv)
    output: Path = arguments.output / CARD
    check_replaceable(output)
    places = places_of(arguments)
    given = Given(arguments.name, arguments.author, arguments.license)
    text, facts = card(places, given)
    for line in facts.lines():
        print(line)
    if not places.tuning:
        print(f"{places.model} is a base model: the card has no fine-tuning")
    write_text(output, text)
    print(f"{output} written")


if __name__ == "__main__":
    cli.run(main)
