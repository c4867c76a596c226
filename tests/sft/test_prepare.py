"""Rows become masked examples, each kept once or counted under a reason."""

import json
import os
from collections import Counter

import fsspec
import pyarrow.parquet
import pytest

from sft import examples, prepare, problems
from sft.config import SftData
from sft.conversations import Form, UnusableError
from sft.dataset import held_out_problems, load, manifest
from tests.support import records
from tests.support.names import NAMES
from tinymathreason.arithmetic import WordProblem
from tinymathreason.cli import InputError
from tinymathreason.config import build

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows(count: int, start: int = 0):
    return [
        {"question": f"What is {i} + 1?", "answer": f"{i + 1}\n#### {i + 1}"}
        for i in range(start, start + count)
    ]


def made(tmp_path, model_dir, sources, max_length=200, **values):
    """The folder prepared from jsonl rows by source, and its manifest's counts."""
    entries = {}
    for name, content in sources.items():
        path = write(tmp_path / f"{name}.jsonl", content)
        entries[name] = {"format": "jsonl", "path": path, **values.pop(name, {})}
    data = build(SftData, {"sources": entries, "eval_fraction": 0.1, **values}, "sft.yaml")
    folder = prepare.prepare(data, str(model_dir), max_length, tmp_path / "out")
    counts = manifest(folder).sources
    return folder, {name: entry.model_dump() for name, entry in counts.items()}


def stored(folder):
    """The rows of both splits, as they are stored."""
    import pyarrow.parquet

    return [
        pyarrow.parquet.read_table(folder / f"{s}.parquet").to_pylist() for s in ("train", "eval")
    ]


def test_counts_add_up(tmp_path, model_dir) -> None:
    bad = [
        {"question": "Why?", "answer": "Because."},
        {"question": "Which?", "answer": "1\n#### 1\nThe answer is: 2"},
        {"question": "Half \ud800", "answer": "1\n#### 1"},
        {"question": " \n", "answer": "1\n#### 1"},
        {"question": "Long", "answer": "word " * 500 + "\n#### 1"},
        rows(1)[0],
        {"question": "What is 3 + 1?", "answer": "four\n#### 4"},
    ]
    folder, counts = made(
        tmp_path,
        model_dir,
        {"a": rows(200) + bad, "b": rows(10) + rows(5, 300)},
        near_duplicates=False,
    )
    assert counts["a"]["rejected"] == {
        "no_final_answer": 1,
        "contradictory_answer": 1,
        "invalid_unicode": 1,
        "empty": 1,
        "too_long": 1,
        "exact_duplicate": 1,
    }
    assert counts["a"]["kept"] == 201
    assert counts["b"]["rejected"] == {"exact_duplicate": 10}
    splits = stored(folder)
    for name, entry in counts.items():
        assert entry["read"] == entry["kept"] + sum(entry["rejected"].values())
        mine = [[row for row in split if row["source"] == name] for split in splits]
        assert [len(split) for split in mine] == [entry["train"], entry["eval"]]
        assert sum(len(row["input_ids"]) for split in mine for row in split) == entry["tokens"]
    lines = map(json.loads, (folder / prepare.REJECTED).read_text().splitlines())
    reasons = Counter((line["source"], line["reason"]) for line in lines)
    assert reasons == {
        (name, why): count
        for name, entry in counts.items()
        for why, count in entry["rejected"].items()
    }


def test_a_trainer_reads_the_answer_as_labels(tmp_path, model_dir) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    content = [*rows(50), {"question": "Say <|im_end|>", "answer": "<|im_start|>\n#### 1"}]
    folder, _ = made(tmp_path, model_dir, {"a": content})
    answers = {row["question"]: row["answer"] for row in content}
    for split, full in zip(load(folder), stored(folder), strict=True):
        assert split.column_names == ["input_ids", "labels"]
        for row, whole in zip(split, full, strict=True):
            question, answer = (message["content"] for message in whole["messages"])
            assert answers[question] == answer
            seen = [label for label in row["labels"] if label != -100]
            assert tokenizer.decode(seen) == f"{answer}<|im_end|>"
            assert len(row["labels"]) == len(row["input_ids"])


def test_variants_of_a_question_are_on_one_side(tmp_path, model_dir) -> None:
    content = [
        {"question": f"{words} {i}?", "answer": f"{i}\n#### {i}", "original": f"What is {i}?"}
        for i in range(300)
        for words in ("What is", "Which number is", "Name")
    ]
    folder, _ = made(tmp_path, model_dir, {"a": content}, a={"group": "original"})
    train, held_out = (
        {row["messages"][0]["content"].split()[-1] for row in split} for split in stored(folder)
    )
    assert len(train) + len(held_out) == 300
    assert train.isdisjoint(held_out)


def test_only_selected_rows_are_taken(tmp_path, model_dir) -> None:
    content = [
        {**row, "from": f"data/{kind}/x.json"}
        for row, kind in zip(rows(60), ["CoT", "PoT", "CoT"] * 20, strict=True)
    ]
    _, counts = made(tmp_path, model_dir, {"a": content}, a={"where": {"from": "data/CoT/*"}})
    assert counts["a"]["kept"] == 40
    assert counts["a"]["rejected"] == {"not_selected": 20}


def test_questions_of_a_benchmark_are_rejected(tmp_path, model_dir) -> None:
    question = "A train leaves at noon and goes 80 miles an hour for 3 hours. How far does it go?"
    test = write(tmp_path / "test.jsonl", [{"question": question}])
    content = [*rows(60), {"question": f"Solve: {question.upper()}", "answer": "240\n#### 240"}]
    benchmarks = [{"path": test, "fields": ["question"]}]
    folder, counts = made(tmp_path, model_dir, {"a": content}, decontaminate=benchmarks)
    assert counts["a"]["rejected"] == {"contaminated": 1}
    assert json.loads((folder / prepare.REJECTED).read_text())["duplicate_of"] == question


def test_generated_problems_are_of_the_training_split(tmp_path, model_dir) -> None:
    data = build(SftData, {"sources": {"a": {"format": "arithmetic", "examples": 300}}}, "sft.yaml")
    folder = prepare.prepare(data, str(model_dir), None, tmp_path)
    for row in [row for split in stored(folder) for row in split]:
        assert not WordProblem(row["messages"][0]["content"], "", 0).held_out


def test_what_is_ready_is_used_and_what_is_stale_made_anew(
    tmp_path, model_dir, monkeypatch
) -> None:
    def files(folder):
        return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}

    def again(**values):
        return made(tmp_path, model_dir, {"a": content}, **values)[0]

    content = rows(60)
    folder = again()
    before, time = files(folder), (folder / "manifest.json").stat().st_mtime_ns
    monkeypatch.setattr(examples, "select", None)  # it must not be asked again
    monkeypatch.setattr("tests.sft.test_prepare.write", lambda path, rows: str(path))
    assert again() == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == time
    monkeypatch.undo()
    older = records.change(manifest(folder), inputs=records.change(manifest(folder).inputs, form=1))
    older.write(folder / "manifest.json")
    assert files(again()) == before
    assert files(again(data_seed=1)) != before
    content = rows(61)
    assert files(again()) != before


def test_what_is_read_and_written_may_be_called_anything(tmp_path, model_dir, monkeypatch) -> None:
    folder = tmp_path.joinpath(*NAMES)
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    first, _ = made(folder, model_dir, {"a": rows(60)}, data_dir="~/d[1]")
    (tmp_path / "plain").mkdir()
    second, _ = made(tmp_path / "plain", model_dir, {"a": rows(60)})
    assert [split.to_list() for split in load(first)] == [split.to_list() for split in load(second)]


def test_blank_lines_are_no_rows(tmp_path, model_dir) -> None:
    path = tmp_path / "b.jsonl"
    lines = [json.dumps(row).encode() for row in rows(60)]
    path.write_bytes(b"\xef\xbb\xbf\r\n" + b"\r\n \r\n".join(lines))
    data = build(
        SftData,
        {"sources": {"b": {"format": "jsonl", "path": str(path)}}, "eval_fraction": 0.1},
        "sft.yaml",
    )
    folder = prepare.prepare(data, str(model_dir), 200, tmp_path / "out")
    assert manifest(folder).sources["b"].kept == 60


@pytest.mark.parametrize("change", ["a file more", "written again", "damaged", "cut"])
def test_why_a_set_is_made_again_is_shown(tmp_path, model_dir, capsys, monkeypatch, change) -> None:
    def again():
        data = build(
            SftData,
            {"sources": {"a": {"format": "jsonl", "path": f"{tmp_path}/a*.jsonl"}}},
            "sft.yaml",
        )
        return prepare.prepare(data, str(model_dir), 200, tmp_path / "out")

    write(tmp_path / "a.jsonl", rows(200))
    path = again() / "train.parquet"
    before = path.read_bytes()
    match change:
        case "a file more":
            write(tmp_path / "a2.jsonl", rows(9, 300))
            words = "a2.jsonl is new"
        case "written again":
            os.utime(tmp_path / "a.jsonl", (1, 1))
            words = "a.jsonl was modified"
        case "damaged":
            path.write_bytes(before[:99] + bytes([before[99] ^ 1]) + before[100:])
            words = "train.parquet has another SHA-256 than when it was written"
        case "cut":
            path.write_bytes(before[:-1])
            words = f"train.parquet has {len(before) - 1:,} bytes, not {len(before):,}"
    if change in ("damaged", "cut"):
        for read in (load, held_out_problems):
            with pytest.raises(InputError, match=r"out/data is damaged: .*; remove it and prepare"):
                read(path.parent)
    capsys.readouterr()
    again()
    assert f"out/data: prepared again: {path if change in ('damaged', 'cut') else tmp_path}" in (
        told := capsys.readouterr().err
    )
    assert words in told
    if change != "a file more":
        assert path.read_bytes() == before
    again()
    assert "prepared again" not in capsys.readouterr().err


def test_a_page_that_is_not_as_it_was_written_is_reported(tmp_path, model_dir, monkeypatch) -> None:
    folder, _ = made(tmp_path, model_dir, {"a": rows(200)})
    path = folder / "train.parquet"
    column = pyarrow.parquet.read_metadata(path).row_group(0).column(0)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    # As of a set so large that its hash is not taken.
    monkeypatch.setattr("data_prep.mixture.CHEAP", 10)
    with pytest.raises(InputError, match=r"train\.parquet: .*; remove .*data and prepare it again"):
        load(folder)


def test_a_remote_source_need_not_answer_again(tmp_path, model_dir, monkeypatch) -> None:
    remote = fsspec.filesystem("memory")
    with remote.open("/sft/a.jsonl", "wb") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows(60)).encode())
    data = build(
        SftData,
        {"sources": {"a": {"format": "jsonl", "path": "memory://sft/*"}}, "eval_fraction": 0.1},
        "sft.yaml",
    )
    try:
        folder = prepare.prepare(data, str(model_dir), 200, tmp_path)
        time = (folder / "manifest.json").stat().st_mtime_ns
        with monkeypatch.context() as patch:
            patch.setattr(type(remote), "glob", None)
            prepare.prepare(data, str(model_dir), 200, tmp_path)
            assert (folder / "manifest.json").stat().st_mtime_ns == time
            with pytest.raises(InputError, match="cannot be listed"):
                prepare.prepare(data, str(model_dir), 200, tmp_path / "other")
        with remote.open("/sft/a.jsonl", "ab") as stream:
            stream.write(json.dumps(rows(1, 90)[0]).encode() + b"\n")
        prepare.prepare(data, str(model_dir), 200, tmp_path)
        assert manifest(folder).sources["a"].kept == 61
    finally:
        remote.rm("/sft", recursive=True)


def test_a_folder_of_something_else_is_left_alone(tmp_path, model_dir) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in (("manifest.json", '{"a": 1}'), ("thesis.txt", "all of it")):
        (folder / name).write_text(content)
        with pytest.raises(InputError, match=r"mine: is not, or not only, made by sft\.prepare"):
            made(tmp_path, model_dir, {"a": rows(60)}, data_dir=folder)
    records.examples().write(folder / "manifest.json")
    with pytest.raises(InputError, match="not only"):
        made(tmp_path, model_dir, {"a": rows(60)}, data_dir=folder)
    assert (folder / "thesis.txt").read_text() == "all of it"


def test_an_empty_source_is_named(tmp_path, model_dir) -> None:
    with pytest.raises(InputError, match=r"sources\.b: no example is left: 0 read"):
        made(tmp_path, model_dir, {"a": rows(60), "b": []})
    with pytest.raises(InputError, match=r"sources\.a: .*: 60 read, 60 too_long"):
        made(tmp_path, model_dir, {"a": rows(60)}, max_length=5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sources": {}}, "at least one source"),
        ({"sources": {"a": {"format": "jsonl"}}}, "path is needed"),
        ({"sources": {"a": {"format": "arithmetic"}}}, "endless"),
        ({"sources": {"a": {"format": "xml", "path": "x"}}}, "'jsonl', 'json', 'parquet'"),
        ({"sources": {"a": {"format": "json", "path": "x", "examples": 0}}}, "at least 1"),
        (
            {"sources": {"a": {"format": "arithmetic", "examples": 9, "group": "g"}}},
            "group, where and messages name columns",
        ),
        (
            {"sources": {"a": {"format": "json", "path": "x", "license": "The MIT License"}}},
            "license must be a name of the hub",
        ),
        (
            {"sources": {"a": {"format": "json", "path": "x", "anwser": "y"}}},
            "did you mean 'answer'",
        ),
        (
            {"sources": {"a": {"format": "json", "path": "x"}}, "chat_template": "none.jinja"},
            "no template none.jinja; accepted: chatml or a file",
        ),
        (
            {
                "sources": {"a": {"format": "json", "path": "x"}},
                "accuracy": {"task": "gsm8k", "every": 0},
            },
            "every must be at least 1",
        ),
    ],
)
def test_bad_configurations_are_one_line(values, words) -> None:
    with pytest.raises(InputError, match=words):
        build(SftData, values, "sft.yaml")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "q"}, r"a\.jsonl: row 1 has no 'answer'.* \(line 2\)"),
        ({"question": None, "answer": "a"}, r"a\.jsonl: row 1 has no 'question'; it is null"),
        ({"question": {}, "answer": "a"}, r"a\.jsonl: row 1 has dict.*\(line 2\)"),
    ],
)
def test_bad_rows_of_a_strict_source_are_named(tmp_path, model_dir, row, words) -> None:
    with pytest.raises(InputError, match=words):
        made(tmp_path, model_dir, {"a": [rows(1)[0], row]}, a={"strict": True})
    assert not (tmp_path / "out").exists()


def test_bad_rows_are_counted(tmp_path, model_dir) -> None:
    bad = [{"question": "q"}, {"question": None, "answer": "1"}, {"question": {}, "answer": "1"}]
    bad += [5, {"question": "q", "answer": "1\n#### 1", "level": None}]
    content = [{**row, "level": "Level 1"} for row in rows(60)]
    bad[:3] = [{**row, "level": "Level 1"} for row in bad[:3]]
    _, counts = made(tmp_path, model_dir, {"a": content + bad}, a={"where": {"level": "Level*"}})
    assert counts["a"]["kept"] == 60
    assert counts["a"]["rejected"] == {
        "empty": 2, "invalid_json": 1, "not_selected": 1, "not_text": 1,
    }  # fmt: skip


def test_a_column_that_the_first_row_lacks_is_an_error(tmp_path, model_dir) -> None:
    for more in ({"answer": "solution"}, {"where": {"level": "*"}}, {"messages": "turns"}):
        with pytest.raises(
            InputError, match=r"a\.jsonl: row 0 has no '.*; it has answer, question"
        ):
            made(tmp_path, model_dir, {"a": rows(60)}, a=more)


def talk(number: int, names=("role", "content", "user", "assistant")):
    role, content, user, assistant = names
    return [
        {role: user, content: f"What is {number} + 1?"},
        {role: assistant, content: str(number + 1)},
        {role: user, content: "And twice that?"},
        {role: assistant, content: f"{2 * number + 2}"},
    ]


@pytest.mark.parametrize(
    "form",
    [
        lambda i: {"messages": talk(i), "id": i},
        lambda i: {"conversations": talk(i, ("from", "value", "human", "gpt"))},
        lambda i: {"prompt": talk(i)[:3], "completion": talk(i)[3:]},
    ],
)
@pytest.mark.parametrize("turns", ["all", "last"])
def test_conversations_are_learnt_turn_by_turn(tmp_path, model_dir, form, turns) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    source = {"turns": turns}
    folder, counts = made(tmp_path, model_dir, {"a": map(form, range(60))}, a=source)
    assert counts["a"]["kept"] == 60
    for row in (row for split in stored(folder) for row in split):
        number = int(row["messages"][1]["content"]) - 1
        assert row["messages"] == talk(number)
        seen = tokenizer.decode([label for label in row["labels"] if label != -100])
        # Of a prompt nothing is learnt.
        first = f"{number + 1}<|im_end|>" if turns == "all" and "prompt" not in form(0) else ""
        assert seen == f"{first}{2 * number + 2}<|im_end|>"


def test_harmless_differences_of_messages_are_taken(tmp_path, model_dir) -> None:
    question, said = "What is 1 + 1?", "2"
    plain = [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
    forms = [
        [{"role": "system", "content": ""}, *plain],
        [{"role": "assistant", "content": "Hello!"}, *plain],
        [*plain, {"role": "user", "content": "Thanks."}],
        [plain[0], {**plain[1], "tool_calls": [], "name": None, "weight": 1}],
        [{"role": "user", "content": [{"type": "text", "text": question}]}, plain[1]],
        [{"from": "Human", "value": question}, {"from": "bot", "value": said}],
        json.dumps(plain),
    ]
    for form in forms:
        assert Form(("messages",)).read({"messages": form, "id": 1}) == (plain, 0)
    several = [{"role": "user", "content": "Tell me."}, *plain, plain[1]]
    (first, last), _ = Form(("messages",)).read({"messages": several})
    assert first["content"] == f"Tell me.\n\n{question}"
    assert last["content"] == "2\n\n2"
    tool = {"role": "tool", "content": "7"}
    messages, _ = Form(("messages",)).read({"messages": [*plain, tool, tool, plain[1]]})
    assert [message["role"] for message in messages][2:4] == ["tool", "tool"]
    row = {"prompt": [*plain, plain[0]], "completion": [plain[1]]}
    assert Form(("prompt", "completion")).read(row) == ([*plain, *plain], 1)
    assert Form(("prompt", "completion")).read({**row, "completion": said})[1] == 1
    with pytest.raises(UnusableError, match="no answer in its completion"):
        Form(("prompt", "completion")).read({**row, "completion": [plain[0]]})


def test_a_shared_system_message_makes_no_duplicates() -> None:
    system = {"role": "system", "content": "You explain each step of a solution. " * 20}
    first, second = (
        examples.Example.of("a", [system, *talk(i)], final_line=False) for i in range(2)
    )
    assert first.question == "What is 0 + 1?\n\nAnd twice that?"
    assert first.group != second.group


def test_a_problem_with_the_name_of_a_special_token_is_left_out(tmp_path) -> None:
    content = [*rows(2), {"question": "Is it <|eot_id|>?", "answer": "#### 1"}]
    path = write(tmp_path / "a.jsonl", content)
    source = {"format": "jsonl", "path": path}
    data = build(SftData, {"sources": {"a": source}, "near_duplicates": False}, "sft.yaml")
    kept, counts = problems.load(data, {"<|eot_id|>": 7})
    assert len(kept) == 2
    assert counts["a"] == {"kept": 2, "special_token": 1}
    assert len(problems.load(data, {"<|im_end|>": 7})[0]) == 3


def test_what_a_template_refuses_is_counted(tmp_path, model_dir) -> None:
    template = tmp_path / "no_system.jinja"
    template.write_text(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}"
        "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    system = {"role": "system", "content": "Be short."}
    bad = [{"messages": [system, *talk(i)]} for i in range(60, 63)]
    good = [{"messages": talk(i)} for i in range(60)]
    more = {"chat_template": template, "near_duplicates": False}
    folder, counts = made(tmp_path, model_dir, {"a": good + bad}, **more)
    assert (counts["a"]["kept"], counts["a"]["rejected"]) == (60, {"template": 3})
    assert "no system role" in (folder / prepare.REJECTED).read_text()
    with pytest.raises(InputError, match=r"3 template; the chat template .*: no system role"):
        made(tmp_path, model_dir, {"a": bad}, **more)


def test_a_control_token_in_a_message_is_counted_where_it_cannot_be_text(tmp_path) -> None:
    from tests.tinymathreason.test_chat_pieces import TINY, tokenizer

    made_of_pieces = tokenizer("first")
    made_of_pieces.save_pretrained(tmp_path / "pieces")
    (tmp_path / "pieces" / "chat_template.jinja").write_text(TINY)
    bad = {"question": "What is </s>?", "answer": "1\n#### 1"}
    folder, counts = made(tmp_path, tmp_path / "pieces", {"a": [*rows(40), bad]})
    assert (counts["a"]["kept"], counts["a"]["rejected"]) == (40, {"template": 1})
    assert "names a control token" in (folder / prepare.REJECTED).read_text()


def test_nothing_left_is_reported(tmp_path, model_dir) -> None:
    with pytest.raises(InputError, match="no example is left: 1 read, 1 no_final_answer"):
        made(tmp_path, model_dir, {"a": [{"question": "q", "answer": "none"}]})
    assert not (tmp_path / "out" / "data").exists()


def test_the_command_tells_the_counts(tmp_path, model_dir, capsys) -> None:
    path = write(tmp_path / "a.jsonl", rows(60))
    config = tmp_path / "sft.yaml"
    config.write_text(
        f"{{model_name_or_path: {model_dir}, output_dir: {tmp_path}/out, bf16: true, "
        f"sources: {{a: {{format: jsonl, path: {path}}}}}, eval_fraction: 0.1}}"
    )
    prepare.main(["--config", str(config), "sources.a.examples=50"])
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[:3] == ["a", "50", "50"]
    assert f"{tmp_path}/out/data is ready" in out


def test_held_out_problems_have_a_number_for_answer(tmp_path, model_dir) -> None:
    words = [{"question": f"Which is {i}?", "answer": "It is B.\n#### B"} for i in range(50)]
    folder, counts = made(tmp_path, model_dir, {"a": rows(50) + rows(50) + words})
    found = held_out_problems(folder)
    assert 0 < len(found) < counts["a"]["eval"]
    assert {(p.question, p.answer) for p in found} <= {
        (row["question"], row["answer"].split()[-1]) for row in rows(50)
    }
