"""Small benchmarks in the hub's schemas, and models that know or guess the answers."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SUBJECTS = ("anatomy", "virology")


def write(folder: Path, count: int = 12) -> dict[str, str]:
    """Write data for the benchmarks; paths by the name of the benchmark."""
    numbers = range(count)
    pick = random.Random(0)
    rights = [pick.randrange(4) for _ in numbers]

    def options(i: int) -> list[str]:
        return [f"{2 * i if k == rights[i] else f'{2 * i}{k + 1}'}" for k in range(4)]

    rows: dict[str, list[dict[str, Any]]] = {
        "gsm8k": [
            {"question": f"What is {i} plus {i}?", "answer": f"It is {2 * i}.\n#### {2 * i}"}
            for i in numbers
        ],
        "math500": [
            {
                "problem": f"What is half of ${i}$?",
                "solution": f"It is $\\boxed{{\\frac{{{i}}}{{2}}}}$.",
                "answer": f"\\frac{{{i}}}{{2}}",
                "subject": ["Algebra", "Geometry"][i % 2],
                "level": i % 3 + 1,
            }
            for i in numbers
        ],
        "gsm_plus": [
            {
                "question": f"What is {i} plus {i}?",
                "solution": f"It is {2 * i}.\n#### {2 * i}",
                "answer": str(2 * i),
                "perturbation_type": ["digit expansion", "adding operation"][i % 2],
                "seed_question": f"What is {i} plus 1?",
            }
            for i in numbers
        ],
        "svamp": [
            {
                "ID": f"chal-{i}",
                "Body": f"Tom has {i} pens and gets {i} more",
                "Question": "How many pens has he?",
                "Equation": f"( {i}.0 + {i}.0 )",
                "Answer": str(2 * i),
                "Type": "Addition",
            }
            for i in numbers
        ],
        "asdiv": [
            {
                "body": f"Tom has {i} pens and gets {i} more.",
                "question": "How many pens has he?",
                "solution_type": "Addition",
                "answer": f"{2 * i} (pens)",
                "formula": f"{i}+{i}={2 * i}",
            }
            for i in numbers
        ],
        "mawps": [
            {
                "id": f"mawps__{i}",
                "question": f"Tom has {i} pens and gets {i} more. How many pens has he?",
                "result": str(2 * i),
                "result_float": 2.0 * i,
                "equation": f"x = {i} + {i}",
            }
            for i in numbers
        ],
        "arc_easy": [
            {
                "question": f"What is {i} plus {i}?",
                "choices": {"text": options(i), "label": ["A", "B", "C", "D"]},
                "answerKey": "ABCD"[rights[i]],
            }
            for i in numbers
        ],
        "hellaswag": [
            {
                "activity_label": "Counting",
                "ctx_a": f"A child adds {i} and {i}.",
                "ctx_b": "the child says",
                "endings": options(i),
                "label": str(rights[i]),
            }
            for i in numbers
        ],
    }
    rows["arc_challenge"] = rows["arc_easy"]
    rows["asdiv_cot_llama"], rows["gsm_plus_mini"] = rows["asdiv"], rows["gsm_plus"]
    paths = {}
    for name, made in rows.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in made))
        paths[name] = str(path)
    for subject in SUBJECTS:
        for split in ("test", "dev"):
            path = folder / "mmlu" / subject / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            mmlu = [
                {"question": f"{i} plus {i}?", "choices": options(i), "answer": rights[i]}
                for i in numbers
            ]
            path.write_text("".join(json.dumps(row) + "\n" for row in mmlu))
    return {**paths, "mmlu": str(folder / "mmlu")}


class Knows:
    """Stands in for lm-eval's model: it answers with ``say`` of a problem's solution."""

    max_length = 8192
    tokenizer_name = "stand-in"

    def __init__(self, template: str | None = None, say: Any = lambda solution: solution) -> None:
        self.tokenizer = SimpleNamespace(
            chat_template=template, eos_token_id=None, added_tokens_decoder={},
            apply_chat_template=lambda messages, tokenize: self.apply_chat_template(messages),
        )  # fmt: skip
        asked = SimpleNamespace(eos_token_id=None, to_diff_dict=dict)
        self.configured = SimpleNamespace(config=asked, generation_config=asked)
        self.say = say
        self.batches: list[int] = []

    def tok_encode(self, text: str) -> list[int]:
        return list(text.encode())

    def apply_chat_template(
        self, messages: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        return "".join(f"<{m['role']}>{m['content']}" for m in messages)

    def generate_until(self, requests: list[Any], disable_tqdm: bool) -> list[str]:
        self.batches.append(len(requests))
        return [self.say(solution(request)) for request in requests]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool) -> list[tuple[float, bool]]:
        self.batches.append(len(requests))
        return [(float(request.idx == right(request.doc)), False) for request in requests]


class Guesses(Knows):
    """It gives every choice a random likelihood."""

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool) -> list[tuple[float, bool]]:
        chance = random.Random(str(requests[0].doc))
        return [(chance.random(), False) for _ in requests]


def solution(request: Any) -> str:
    """A worked solution in the form that the benchmark's prompt requires."""
    document, prompt = request.doc, request.args[0]
    answer = str(document["answer"])
    if "Q: " in prompt or "The final answer is" in prompt:
        said = answer.split("#### ")[-1].split(" (")[0]
        return f"The {'answer' if 'Q: ' in prompt else 'final answer'} is {said}."
    if "solution" in document:
        return str(document["solution"])
    return answer if "####" in answer else f"So.\n#### {answer}"


def right(document: dict[str, Any]) -> int:
    """The index of the right choice."""
    if "answerKey" in document:
        return "ABCD".index(document["answerKey"])
    return int(document["label"] if "label" in document else document["answer"])
