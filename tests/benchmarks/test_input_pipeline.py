"""The input pipeline's peer reads the same documents as text."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.batches import batches
from benchmarks.input_pipeline import OVERLAY, draw, write_texts
from data_prep import tokenizer
from data_prep.stages.records import encode, writer
from tests.support.checkpoints import sample
from tinymathreason.chatml import EOS, PAD, SPECIAL_TOKENS

pytestmark = [pytest.mark.xdist_group("maxtext"), pytest.mark.filterwarnings("ignore")]

LENGTH, END, NOTHING = 32, SPECIAL_TOKENS.index(EOS), SPECIAL_TOKENS.index(PAD)
DOCUMENTS = {
    "sums": [f"{n} plus {n} is {2 * n}, and then some. " * (1 + n % 7) for n in range(120)],
    "words": [f"The word number {n} is said aloud." for n in range(120)],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A mixture of two sources, and below texts/ the same as text."""
    path = tmp_path_factory.mktemp("input_pipeline")
    mixture = path / "mixture"
    tokenizer.save(tokenizer.train(sample(), 320), mixture / "tokenizer")
    encoder = tokenizer.Encoder(mixture / "tokenizer")
    draws = {}
    for name, texts in DOCUMENTS.items():
        (mixture / name).mkdir()
        records = writer(mixture / name / "train-00000-of-00001.array_record")
        for ids in encoder(texts):
            records.write(encode([*ids.tolist(), END]))
        records.close()
        draws[name] = {"path": f"{mixture / name}/train-*", "weight": 1.0}
    (mixture / "mixture.json").write_text(json.dumps(draws))
    write_texts(str(mixture), str(path / "texts"))
    return path


def overrides(home: Path, kind: str, *more: str) -> list[str]:
    return [
        f"grain_train_mixture_config_path={home / kind / 'mixture.json'}",
        f"tokenizer_path={home / 'mixture' / 'tokenizer'}",
        f"max_target_length={LENGTH}",
        "per_device_batch_size=8",
        "grain_worker_count=0",
        f"base_output_directory={home}",
        *more,
    ]


def stream(home, kind: str, *more: str):
    """All tokens in their order, without ends and padding."""
    result = [b["inputs"] for b in batches(OVERLAY, overrides(home, kind, "num_epoch=1", *more))]
    tokens = np.concatenate(result).ravel()
    return tokens[(tokens != END) & (tokens != NOTHING)]


def test_text_is_the_records_text(home) -> None:
    records = stream(home, "mixture")
    texts = stream(home, "texts", "tokenize_train_data=true", "use_truncation=false")
    assert len(records) > 3_000
    np.testing.assert_array_equal(records, texts)


def test_what_drawing_takes(home, capsys) -> None:
    draw("2000", *overrides(home, "mixture"))
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 2000 <= result["tokens"] < 2000 + 8 * LENGTH
    assert result["seconds"] > 0
    assert result["cpu_seconds"] > 0
