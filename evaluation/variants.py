"""GSM8K's problems and variants of them, and how much worse a model does on the variants.

A variant is asked beside its original, by the same model in the same form, so the difference of the
two is paired: a model that only remembers the original loses on the variant. The idea is that of
GSM-Symbolic (Mirzadeh et al., 2024, https://arxiv.org/abs/2410.05229); the variants are made by
`tinymathreason.variants`.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.compare import newcombe
from tinymathreason.cli import InputError
from tinymathreason.records.evaluation import PairedDifference, SampleRecord
from tinymathreason.tables import text_table

ORIGINAL = "original"
"""The kind of a problem that is not a variant."""


def dataset(
    file: str | None = None, limit: int | None = None, seed: int = 0, **_: Any
) -> dict[str, Any]:
    """The split ``test`` of GSM8K, from a local file or the hub, with its variants.

    It is what `expanded` makes of the first ``limit`` problems; lm-eval's ``--metadata`` passes the
    arguments.
    """
    if file is not None:
        from evaluation.local import splits

        rows = splits(file, "main", "test", {"question": str, "answer": str})["test"]
    else:
        from datasets import load_dataset

        rows = load_dataset("openai/gsm8k", "main", split="test")
    return {"test": expanded(rows, limit, seed)}


def expanded(rows: Any, limit: int | None, seed: int) -> Any:
    """A dataset of the first ``limit`` problems, each followed by one variant of every kind.

    ``rows`` have GSM8K's columns. Kinds that a problem does not admit are missing, and so are
    problems without any. The new columns are ``kind`` and ``original``, the row of a variant's
    original. `InputError` if no problem admits one.
    """
    from datasets import Dataset, Features, Value

    from tinymathreason.variants import SKILL_KINDS, variants

    made: list[dict[str, Any]] = []
    for row in itertools.islice(rows, limit):
        question, solution = row["question"], row["answer"]
        of_row = variants(question, solution, seed, SKILL_KINDS)
        if not of_row:
            continue
        first = len(made)
        made.append({"question": question, "answer": solution, "kind": ORIGINAL, "original": None})
        made += [
            {"question": one.question, "answer": one.solution, "kind": one.kind, "original": first}
            for one in of_row
        ]
    if not made:
        few = "no problem" if limit is None else f"none of the first {limit:,} problems"
        raise InputError(
            f"data: {few} admits a variant; their solutions must have GSM8K's form, with steps "
            "such as <<3*4=12>>"
        )
    columns = {name: Value("string") for name in ("question", "answer", "kind")}
    return Dataset.from_list(made, Features({**columns, "original": Value("int64")}))


def differences(samples: Sequence[SampleRecord]) -> dict[str, PairedDifference]:
    """The accuracy on the variants of each kind minus that on their originals.

    Only the first answer to a problem counts. Empty for problems without variants.
    """
    by_id = {sample.id: sample for sample in samples}
    pairs: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for sample in samples:
        if sample.original is not None and "kind" in sample.groups:
            pairs[sample.groups["kind"]].append((by_id[sample.original].correct, sample.correct))
    return {kind: _difference(of_kind) for kind, of_kind in pairs.items()}


def _difference(pairs: Sequence[tuple[bool, bool]]) -> PairedDifference:
    """The difference of pairs (original right, variant right), with Newcombe's interval."""
    n = len(pairs)
    won, lost = pairs.count((False, True)), pairs.count((True, False))
    low, high = newcombe(pairs.count((True, True)), won, lost, pairs.count((False, False)))
    return PairedDifference(
        n=n,
        original=sum(original for original, _ in pairs) / n,
        variant=sum(variant for _, variant in pairs) / n,
        difference=(won - lost) / n,
        low=low,
        high=high,
        won=won,
        lost=lost,
    )


def table(found: Mapping[str, PairedDifference]) -> str:
    """A table of the differences for a terminal."""
    rows = [
        [
            kind.replace("_", " "),
            f"{d.n:,}",
            f"{d.original:.1%}",
            f"{d.variant:.1%}",
            f"{100 * d.difference:+.1f} points ({100 * d.low:+.1f} to {100 * d.high:+.1f})",
        ]
        for kind, d in found.items()
    ]
    head = ["variant", "pairs", "original", "variant", "difference (95 % interval, Newcombe)"]
    return text_table(head, rows)
