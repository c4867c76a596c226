"""Word problems of several datasets, each with its ``question`` and its ``answer``.

These are the functions of our lm-eval tasks of SVAMP, ASDiv and MAWPS. A dataset's own columns stay
beside the two.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def svamp(dataset: Any) -> Any:
    """SVAMP's rows (Patel et al., 2021, https://arxiv.org/abs/2103.07191).

    The question is the body and the question, as in the hub's ``question_concat``.
    """
    return _mapped(dataset, lambda row: (f"{row['Body']} {row['Question']}", row["Answer"]))


def asdiv(dataset: Any) -> Any:
    """ASDiv's rows (Miao et al., 2020, https://arxiv.org/abs/2106.15772).

    The answer ``9 (apples)`` is 9. The first of several answers counts, as in lm-eval.
    """
    return _mapped(
        dataset, lambda row: (f"{row['body']} {row['question']}", row["answer"].split(" (")[0])
    )


def mawps(dataset: Any) -> Any:
    """The rows of MAWPS (Koncel-Kedziorski et al., 2016, https://aclanthology.org/N16-1136/).

    The columns are those of MU-NLPC/Calc-mawps (https://arxiv.org/abs/2305.15017).
    """
    return _mapped(dataset, lambda row: (row["question"], row["result"]))


def worked_examples() -> list[dict[str, str]]:
    """The eight worked examples of lm-eval's ``gsm8k_cot``, from its own file.

    They are those of Wei et al., 2022 (https://arxiv.org/abs/2201.11903).
    """
    import lm_eval
    import yaml

    file = Path(lm_eval.__file__).parent / "tasks" / "gsm8k" / "gsm8k-cot.yaml"
    samples: list[dict[str, str]] = yaml.safe_load(file.read_text(encoding="utf-8"))[
        "fewshot_config"
    ]["samples"]
    return samples


def _mapped(dataset: Any, read: Callable[[dict[str, Any]], tuple[str, str]]) -> Any:
    from datasets import Dataset

    rows = []
    for row in dataset:
        question, answer = read(row)
        rows.append({**row, "question": question, "answer": answer})
    return Dataset.from_list(rows)
