"""The notebook holds no outputs, and shows what a small run's records say."""

import re
import shutil
from itertools import islice
from pathlib import Path

import nbformat
import pytest
from transformers import AutoTokenizer

from data_prep.stages.records import encode, writer
from sft import prepare
from sft.config import SftData
from tests.support import built_model, event_files, notebook, records
from tinymathreason.arithmetic import GENERATORS
from tinymathreason.config import build
from tinymathreason.records.mixture import Documents

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries; a cell that warns fails


def test_the_notebook_is_committed_without_outputs() -> None:
    cells = nbformat.read(notebook.NOTEBOOK, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert len(code) >= 8
    assert not [cell for cell in code if cell.outputs or cell.execution_count is not None]


@pytest.fixture
def run(model_dir, answering_dir, tmp_path) -> Path:
    """A small run: real documents and examples, written records, a model with known answers."""
    folder = tmp_path / "run"
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    shard = folder / "mixture/word_problems/train-00000-of-00001.array_record"
    shard.parent.mkdir(parents=True)
    file = writer(shard)
    for text in islice(GENERATORS["word_problems"](0), 5):
        file.write(encode(tokenizer(text)["input_ids"]))
    file.close()
    shutil.copytree(model_dir, folder / "mixture/tokenizer")
    documents = Documents(read=61, kept=5, rejected={"exact_duplicate": 56})
    source = records.source(documents=documents, tokens=321)
    manifest = records.mixture(sources={"word_problems": source})
    manifest.write(folder / "mixture/manifest.json")

    losses = [
        (step, tag, 3.5 - step, step + 1.0)
        for step in range(3)
        for tag in ("learning/loss", "eval/avg_loss")
    ]
    event_files.write_events(folder / "pretrain", 1.0, losses)
    parity = records.parity(positions=1234, max_abs_diff=3e-5)
    conversion = records.conversion(parameters=54_321, parity=parity)
    conversion.write(folder / "base/conversion.json")

    sources = {"word_problems": {"format": "arithmetic", "examples": 20}}
    data = build(SftData, {"sources": sources, "eval_fraction": 0.2}, "sft.yaml")
    prepare.prepare(data, str(model_dir), 300, folder / "sft")
    shutil.copytree(answering_dir, folder / "sft/model")
    records.sft().write(folder / "sft/model/sft.json")
    result = records.results(value=0.4, low=0.3, high=0.5, n=77)
    result.write(folder / "evaluation/sft/results.json")
    return folder


def test_the_notebook_shows_a_small_run(run, tmp_path, monkeypatch) -> None:
    text = notebook.outputs(run, tmp_path, monkeypatch)
    assert re.search(r"word_problems.*61<.*5<.*56 exact_duplicate.*321<", text)
    assert "word_problems 1: Question: " in text
    assert "54,321 parameters, compared at 1,234 positions" in text
    assert "largest difference of a logit: 3.0e-05" in text
    # What is marked is the assistant's part, from its first word to the stop token.
    (example,) = re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)
    marked = "".join(re.findall(r"<mark>(.*?)</mark>", example, re.DOTALL))
    assert re.fullmatch(r"First .*\n#### \d+&lt;\|im_end\|&gt;", marked, re.DOTALL)
    assert re.sub(r"</?mark>", "", example).endswith(f"assistant\n{marked}\n")
    answer = built_model.answer("Ada gives away 2.")
    assert f"How many apples does Ada have now?\n\n#### {answer}" in text
    assert re.search(r"sft.*arithmetic.*40.0%.*30.0% to 50.0%.*77<", text)
