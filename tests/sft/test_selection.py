"""A selection fills its budget by difficulty and diversity, whatever the order of the rows."""

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft import prepare, selection, survey
from sft.config import Selection, SftData
from sft.dataset import manifest
from tests.sft.test_prepare import stored, write
from tinymathreason.cli import InputError
from tinymathreason.config import build

STORY = "Natalia sold clips to {} of her friends in April, and {} in May. How many in all?"
OTHER = "A tank holds {} litres and loses {} litres an hour. When is it empty?"
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@given(
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from([0.0, 0.5, 1.0, 3.0])), max_size=9),
)
def test_the_budget_is_filled_in_proportion(budget: int, strata: list[tuple[int, float]]) -> None:
    sizes = np.array([size for size, _ in strata], dtype=np.int64)
    weights = np.array([weight for _, weight in strata])
    quotas = selection.allot(budget, sizes, weights)
    assert (quotas <= sizes).all()
    assert quotas.sum() == min(budget, sizes[weights > 0].sum())
    for more, less in itertools.permutations(np.flatnonzero(weights > 0), 2):
        # Where there is more to take, the share is not smaller than another one's, but for the
        # example that cannot be divided.
        if quotas[less] < sizes[less]:
            assert (quotas[more] - 1) / weights[more] <= (quotas[less] + 1) / weights[less]


def candidates(*rows: tuple[int, int, int, int, int]):
    return np.array(list(rows), dtype=selection.CANDIDATE)


def test_levels_and_classes_share_the_budget() -> None:
    """The answers of level b are longer, and there are ten times as many."""
    rows = candidates(
        *((n, n, n, n + 1, 0) for n in range(40)),
        *((n + 40, n + 40, n + 40, n + 500, 1) for n in range(400)),
    )
    chosen, record = selection.choose(
        rows, ["a", "b"], Selection(examples=64, difficulty=[1, 2, 1]), seed=0
    )
    assert [(s.level, s.difficulty, s.longest, s.candidates, s.chosen) for s in record.strata] == [
        ("a", 1, 14, 14, 10), ("a", 2, 27, 13, 13), ("a", 3, 40, 13, 9),
        ("b", 1, 633, 134, 8), ("b", 2, 766, 133, 16), ("b", 3, 899, 133, 8),
    ]  # fmt: skip
    assert chosen.sum() == 64
    assert record.candidates.examples == 440
    assert record.chosen.examples == 64
    assert rows["tokens"][chosen & (rows["level"] == 0)].max() <= 40


def test_a_small_level_fills_its_share_from_all_its_classes() -> None:
    """Level a has 30 rows, the share of its budget, but not three parts to one in every class."""
    rows = candidates(
        *((n, n, n, n + 1, 0) for n in range(30)),
        *((n + 30, n + 30, n + 30, n + 500, 1) for n in range(3000)),
    )
    chosen, record = selection.choose(
        rows, ["a", "b"], Selection(examples=60, difficulty=[3, 2, 1]), seed=0
    )
    assert np.bincount(rows["level"][chosen]).tolist() == [30, 30]
    assert [s.chosen for s in record.strata] == [10, 10, 10, 15, 10, 5]


def test_other_questions_come_before_second_solutions() -> None:
    """A question has 90 solutions, ten others are worded like it, and ten are alone."""
    rows = candidates(
        *((n, 0, 0, 5, 0) for n in range(90)),
        *((n + 90, n + 1, 0, 5, 0) for n in range(10)),
        *((n + 100, n + 11, n + 1, 5, 0) for n in range(10)),
    )
    alone, like = np.arange(110) >= 100, (np.arange(110) >= 90) & (np.arange(110) < 100)
    for budget, questions, repeated in ((11, 11, 0), (15, 15, 0), (21, 21, 0), (31, 21, 10)):
        selected = Selection(examples=budget, difficulty=[1])
        chosen, record = selection.choose(rows, [""], selected, seed=3)
        assert record.chosen.questions == questions
        assert chosen[alone].all()
        assert chosen[:90].sum() - repeated in (0, 1)
        assert record.chosen.clusters == 11
    assert chosen[like].all()


def test_neither_the_order_of_rows_nor_a_run_matters_but_the_seed_does() -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros(500, dtype=selection.CANDIDATE)
    for name, limit in (("digest", 2**63), ("question", 200), ("cluster", 40), ("tokens", 60)):
        rows[name] = rng.integers(limit, size=500)
    rows["level"] = rng.integers(3, size=500)
    budget = Selection(examples=100)

    def digests(order, seed=0):
        chosen, _ = selection.choose(rows[order], ["a", "b", "c"], budget, seed)
        return set(rows[order]["digest"][chosen].tolist())

    assert digests(np.arange(500)) == digests(rng.permutation(500))
    assert digests(np.arange(500)) != digests(np.arange(500), seed=1)


def test_a_cluster_is_a_wording() -> None:
    assert selection.cluster(STORY.format(48, 24)) == selection.cluster(STORY.format(7, "1,050.5"))
    assert selection.cluster(STORY) != selection.cluster(OTHER)
    assert selection.cluster("???") == selection.cluster("")


def open_math(number: int, **values):
    """A row of OpenMathInstruct-2, whose solution has as many steps as its number."""
    steps = "\n".join(f"Step {step} of it." for step in range(number % 9 + 1))
    return {
        "problem": (STORY if number % 2 else OTHER).format(number, number + 1),
        "generated_solution": f"{steps}\nThe answer is $\\boxed{{{number}}}$.",
        "expected_answer": str(number),
        "problem_source": ("augmented_math", "gsm8k")[number % 3 == 0],
    } | values


def numina(number: int, **values):
    """A row of NuminaMath-CoT."""
    row = open_math(number)
    turns = [("user", row["problem"]), ("assistant", row["generated_solution"])]
    return {
        "source": ("cn_k12", "olympiads")[number % 2],
        "problem": f"Consider this. {row['problem']}",
        "solution": row["generated_solution"],
        "messages": [{"content": text, "role": role} for role, text in turns],
    } | values


def sets(tmp_path, examples: int = 40, name: str = "out", **values):
    """The configuration of two sets in the hub's schemas, as files of its form."""
    bad = [
        open_math(900, generated_solution="It is 3.\nThe answer is $\\boxed{3}$."),
        open_math(901, generated_solution="Hence."),
        open_math(902, problem="Prove that 7 is prime."),
        open_math(903, problem=f"Word {'word ' * 400}?"),
        open_math(4),
    ]
    halves = [[*map(open_math, range(100))], [*bad, *map(open_math, range(100, 150))]]
    proofs = [
        numina(910, solution="As was to be shown. $\\blacksquare$"),
        numina(911, solution="So $\\boxed{\\text{both of the lines are parallel}}$."),
        numina(912, solution="Q.E.D. $\\boxed{\\blacksquare}$"),
        numina(913, source="synthetic_amc"),
    ]
    tables = {f"omi-{n}": half for n, half in enumerate(halves)}
    for file, rows in (tables | {"numina": [*proofs, *map(numina, range(200, 260))]}).items():
        path = tmp_path / f"{file}.parquet"
        if not path.exists():
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    config = {
        "sources": {
            "OpenMathInstruct-2": {
                "format": "parquet", "path": f"{tmp_path}/omi-*.parquet", "license": "cc-by-4.0",
                "question": "problem", "answer": "generated_solution",
                "expected": "expected_answer", "checkable": True,
                "select": {"examples": examples, "level": "problem_source"},
            },
            "NuminaMath-CoT": {
                "format": "parquet", "path": f"{tmp_path}/numina.parquet", "license": "apache-2.0",
                "question": "problem", "answer": "solution", "checkable": True,
                "where": {"source": ["cn_k12", "olymp*"]},
                "select": {"examples": examples, "level": "source"},
            },
        },
        "eval_fraction": 0.2, "max_example_tokens": 300, "near_duplicates": False,
    }  # fmt: skip
    return build(SftData, config | values, "sft_2026.yaml"), tmp_path / name


def test_sets_of_the_hub_are_chosen_from_and_every_row_is_counted(tmp_path, model_dir) -> None:
    test = [{"question": STORY.format(31, 32)}]
    data, output = sets(
        tmp_path,
        decontaminate=[{"path": write(tmp_path / "test.jsonl", test), "fields": ["question"]}],
    )
    folder = prepare.prepare(data, str(model_dir), 4096, output)
    record = manifest(folder)
    first, second = (record.sources[name] for name in data.sources)
    assert first.rejected == {
        "contaminated": 1, "contradictory_answer": 1, "exact_duplicate": 1, "over_budget": 110,
        "proof": 1, "too_long": 1,
    }  # fmt: skip
    assert (first.read, first.kept) == (155, 40)
    # Without a box, the final answer is the one that the set expects.
    assert second.rejected == {
        "no_final_answer": 1, "not_checkable": 1, "not_selected": 1, "over_budget": 20, "proof": 1,
    }  # fmt: skip
    assert (second.read, second.kept) == (64, 40)
    strata = record.selected["OpenMathInstruct-2"].strata
    levels = ("augmented_math", "gsm8k")
    assert [(s.level, s.chosen) for s in strata] == [(level, 5) for level in levels for _ in "1234"]
    assert record.inputs.data.sources["NuminaMath-CoT"].license == "apache-2.0"
    lines = [json.loads(line) for line in (folder / prepare.REJECTED).read_text().splitlines()]
    assert len(lines) == 9
    rows = [row for split in stored(folder) for row in split]
    assert len(rows) == 80
    for row in rows:
        number = row["messages"][0]["content"].split("to ")[-1].split("holds ")[-1].split()[0]
        assert row["messages"][1]["content"].endswith(f"\n#### {number}")
    assert not output.joinpath("data.survey").exists()


def test_a_killed_preparation_goes_on_with_the_next_file(tmp_path, model_dir, monkeypatch) -> None:
    data, output = sets(tmp_path)
    whole = prepare.prepare(data, str(model_dir), None, output)
    data, output = sets(tmp_path, name="again")
    read, surveyed = survey.file_examples, []

    def interrupted(name, source, file, wanted=None):
        surveyed.append((Path(file).stem, wanted is None))
        if len(surveyed) == 2:
            raise KeyboardInterrupt
        return read(name, source, file, wanted)

    monkeypatch.setattr(survey, "file_examples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(data, str(model_dir), None, output)
    assert not output.joinpath("data").exists()
    folder = prepare.prepare(data, str(model_dir), None, output)
    assert surveyed == [
        ("omi-0", True), ("omi-1", True), ("omi-1", True), ("omi-0", False), ("omi-1", False),
        ("numina", True), ("numina", False),
    ]  # fmt: skip
    assert stored(folder) == stored(whole)
    assert (folder / prepare.REJECTED).read_bytes() == (whole / prepare.REJECTED).read_bytes()


def test_rows_over_the_budget_do_not_stand_against_a_later_source(tmp_path, model_dir) -> None:
    """Both sources are the same file: what the first one leaves out, the second may have."""
    rows = [{"question": OTHER.format(n, n), "answer": f"So {n}.\n#### {n}"} for n in range(60)]
    path = write(tmp_path / "a.jsonl", rows)
    source = {"format": "jsonl", "path": path}
    data = build(
        SftData,
        {
            "sources": {"a": source | {"select": {"examples": 25}, "examples": 50}, "b": source},
            "near_duplicates": False, "eval_fraction": 0.2,
        },
        "sft.yaml",
    )  # fmt: skip
    counts = manifest(prepare.prepare(data, str(model_dir), None, tmp_path / "out")).sources
    assert counts["a"].rejected == {"over_budget": 25}
    assert counts["b"].rejected == {"exact_duplicate": 25}
    assert (counts["a"].read, counts["b"].kept) == (50, 35)


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ({"examples": 0}, "examples must be at least 1"),
        ({"examples": 9, "difficulty": [0, 0]}, "difficulty needs shares"),
        ({"examples": 9, "difficulty": []}, "difficulty needs shares"),
        ({"examples": 9, "levels": "a"}, "did you mean 'level'"),
    ],
)
def test_a_bad_selection_is_one_line(select, words) -> None:
    source = {"format": "jsonl", "path": "x", "select": select}
    with pytest.raises(InputError, match=words):
        build(SftData, {"sources": {"a": source}}, "sft.yaml")


def test_only_sft_selects(tmp_path) -> None:
    from sft.config import GrpoData

    source = {"format": "jsonl", "path": "x", "select": {"examples": 9}}
    with pytest.raises(InputError, match=r"sources\.a\.select is for supervised fine-tuning only"):
        build(GrpoData, {"sources": {"a": source}, "rewards": {"correct": 1.0}}, "grpo.yaml")


def test_a_level_that_no_column_has_is_an_error(tmp_path, model_dir) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": "1?", "answer": "#### 1"}])
    source = {"format": "jsonl", "path": path, "select": {"examples": 9, "level": "grade"}}
    data = build(SftData, {"sources": {"a": source}}, "sft.yaml")
    with pytest.raises(InputError, match=r"row 0 has no 'grade'; it has answer, question"):
        prepare.prepare(data, str(model_dir), None, tmp_path / "out")
