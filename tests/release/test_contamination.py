"""Problems that a model met in training are found in its own training text, and told apart."""

import json
import shutil

import pyarrow
import pyarrow.parquet
import pytest
from tokenizers import Tokenizer

from data_prep.stages.records import encode, writer
from release.breakdown import Evaluation, breakdowns
from release.contamination import main
from release.records import Folders, RunRecords
from tests.support import records
from tinymathreason.cli import InputError
from tinymathreason.provenance import file_hash, model_hash
from tinymathreason.records.base import write_lines
from tinymathreason.records.contamination import Contamination

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

QUESTIONS = [
    "Anna picks seven apples on Monday and twice as many on Tuesday. How many has she?",
    "A train with nine waggons passes six houses in an hour. How many wheels pass them?",
    "Bill saves four coins a week for a bicycle of ninety coins. How many weeks does he save?",
    "One baker needs eleven eggs for three cakes, and sells two. How many eggs were in them?",
    "3",
]


@pytest.fixture
def run(model_dir, tmp_path):
    """A run whose mixture has the first question, and whose examples have the second one."""
    web = tmp_path / "mixture" / "web"
    web.mkdir(parents=True)
    shutil.copytree(model_dir, tmp_path / "mixture" / "tokenizer")
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    texts = {
        "train": ["Nothing is here.", f"On a page: {QUESTIONS[0].upper()} The answer is 21."],
        "eval": [QUESTIONS[3]],
    }
    for split, documents in texts.items():
        shard = writer(web / f"{split}-00000-of-00001.array_record")
        for text in documents:
            shard.write(encode(tokenizer.encode(text).ids))
        shard.close()
    records.mixture().write(tmp_path / "mixture" / "manifest.json")
    shutil.copytree(model_dir, tmp_path / "base")
    shutil.copytree(model_dir, tmp_path / "sft" / "model")
    config = tmp_path / "sft" / "model" / "config.json"
    config.write_text(config.read_text() + " ")  # another model
    examples = tmp_path / "sft" / "data"
    examples.mkdir()
    records.examples().write(examples / "manifest.json")
    talk = [
        {"role": "user", "content": QUESTIONS[1]}, {"role": "assistant", "content": "#### 9"},
    ]  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.table({"messages": [talk] * 3}), examples / "train.parquet")
    base = model_hash(tmp_path / "base")
    tuned = records.sft(base=base, manifest=file_hash(examples / "manifest.json"))
    tuned.write(tmp_path / "sft" / "model" / "sft.json")
    for name in ("base", "sft", "other"):
        samples = [
            records.sample(id=i, question=question, metrics={"strict": float(i in (0, 2))})
            for i, question in enumerate(QUESTIONS)
        ]
        folder = tmp_path / "evaluation" / name
        folder.mkdir(parents=True)
        write_lines(folder / "samples.jsonl", samples)
        path = {"base": tmp_path / "base", "sft": tmp_path / "sft" / "model"}.get(name)
        sha256 = model_hash(path) if path else records.SHA
        records.results(model_sha256=sha256).write(folder / "results.json")
    return tmp_path


def read(run, name: str) -> Contamination:
    return Contamination.load(run / "evaluation" / name / "contamination.json")


def test_what_each_model_was_trained_on_is_searched(run, capsys) -> None:
    main(["--run", str(run)])
    printed = capsys.readouterr().out
    base, tuned = read(run, "base"), read(run, "sft")
    assert (base.found, tuned.found) == ([0], [0, 1])
    assert [(text.stage, text.documents, text.found) for text in tuned.texts] == [
        ("pretraining", 2, 1), ("fine-tuning", 3, 1),
    ]  # fmt: skip
    assert [text.stage for text in base.texts] == ["pretraining"]
    assert (tuned.problems, tuned.too_short) == (5, 1)
    assert (tuned.contaminated.value, tuned.contaminated.n) == (0.5, 2)
    assert (tuned.clean.value, tuned.clean.n) == (pytest.approx(1 / 3), 3)
    assert (base.contaminated.value, base.contaminated.n) == (1.0, 1)
    assert "evaluation/other: no text of its model's training is known" in printed
    assert "33.3% (6.1% to 79.2%)" in printed


@pytest.mark.parametrize("column", ["kind", "perturbation_type"])
def test_a_problem_is_found_whichever_versions_of_it_are_asked(run, model_dir, column) -> None:
    asked = (
        "{} plants {} rows of tulips behind the barn, and every row holds {} bulbs from the "
        "market. Later {} more rows are dug at the gate. How many bulbs are planted in the end?"
    )
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    text = asked.format("Anna", "seventeen", "forty-one", "thirteen")
    shard = writer(run / "mixture" / "web" / "train-00000-of-00001.array_record")
    shard.write(encode(tokenizer.encode(text).ids))
    shard.close()
    # What the text shares with the first one is in all of them.
    versions = [
        ("Anna", 17, 41, 13), ("Maria", 18, 42, 14), ("Nora", 19, 35, 24), ("Ruth", 15, 25, 26),
        ("Olga", 27, 47, 23), ("Ella", 37, 57, 33),
    ]  # fmt: skip
    samples = [
        records.sample(id=i, question=asked.format(*words), groups={column: f"version {i}"})
        for i, words in enumerate(versions)
    ]
    for some in (samples[:1], samples):
        write_lines(run / "evaluation" / "base" / "samples.jsonl", some)
        main(["--run", str(run)])
        assert 0 in read(run, "base").found


def test_several_mixtures_are_searched_by_several_processes(run) -> None:
    decay = run / "decay"
    shutil.copytree(run / "mixture", decay)
    (run / "mixture" / "web").rename(run / "mixture" / "moved")
    with pytest.raises(InputError, match=r"mixture/web/train-.*: is missing; copy the whole"):
        main(["--run", str(run), "--mixture", str(run / "mixture"), "--mixture", str(decay)])
    (run / "mixture" / "moved").rename(run / "mixture" / "web")
    words = ["--run", str(run), "--workers", "2"]
    main([*words, "--mixture", str(run / "mixture"), "--mixture", str(decay)])
    assert [text.documents for text in read(run, "sft").texts] == [2, 2, 3]
    assert read(run, "sft").found == [0, 1]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: shutil.rmtree(run / "sft" / "data"), "does not hold the examples that"),
        (
            lambda run: (run / "sft/data/manifest.json").write_text("{}"),
            "does not hold the examples that .* name their folder by --examples",
        ),
        (
            lambda run: records.starts().write(run / "pretrain" / "provenance.json"),
            "is not the mixture that .*pretrain was trained on; name that one by --mixture",
        ),
        (lambda run: shutil.rmtree(run / "evaluation"), "holds no evaluation of .*model"),
        (lambda run: (run / "mixture/manifest.json").write_text("{}"), "kind is missing"),
        (lambda run: (run / "evaluation/sft/samples.jsonl").unlink(), "samples.jsonl: no such"),
    ],
)
def test_a_search_that_would_tell_something_wrong_is_refused(run, damage, words) -> None:
    (run / "pretrain").mkdir()
    damage(run)
    with pytest.raises(InputError, match=words):
        main(["--run", str(run)])
    assert not list(run.glob("evaluation/*/contamination.json"))


def test_card_and_report_show_it_and_refuse_one_of_another_result(run) -> None:
    main(["--run", str(run)])
    loaded = RunRecords.load(Folders.of(run))
    assert {path.parent.name for path in loaded.contamination} == {"base", "sft"}
    evaluations = [
        Evaluation(path.parent.name, results, loaded.contamination.get(path))
        for path, results in loaded.results.items()
    ]
    (table,) = breakdowns(evaluations, "{:.0%}".format)
    rows = [dict(zip(table.head, row, strict=True)) for row in table.rows]
    assert [(row["evaluation"], row["found"], row["value, found"]) for row in rows] == [
        ("base", "1", "100% (21% to 100%)"), ("sft", "2", "50% (9% to 91%)"),
    ]  # fmt: skip
    assert rows[1]["searched"] == "pretraining and fine-tuning"
    assert "than 96 letters, 70% of its runs of 32 letters" in table.note
    path = run / "evaluation" / "sft" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 9.0}))
    with pytest.raises(InputError, match=r"contamination\.json: is of another evaluation; run"):
        RunRecords.load(Folders.of(run))
