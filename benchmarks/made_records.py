"""Records of token ids where no mixture was built: of real text if there is some, else made up.

Speed depends on the lengths of documents and not on what they say. So a word of real text is
numbered by a hash, which fits any vocabulary, and made-up documents have random ids; their lengths
follow the log-normal law that web text follows roughly (median 600 tokens).
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinymathreason.chatml import EOS, SPECIAL_TOKENS
from tinymathreason.files import write_json

MEDIAN = 600
SPREAD = 1.1
"""Of the logarithm of a made-up document's length."""


def made_up(vocabulary: int, longest: int) -> Iterator[npt.NDArray[np.int64]]:
    """Documents of random ids without end, each of 2 to ``longest`` tokens."""
    rng = np.random.default_rng(0)
    while True:
        length = int(np.clip(rng.lognormal(np.log(MEDIAN), SPREAD), 2, longest))
        yield rng.integers(len(SPECIAL_TOKENS), vocabulary, length)


def of_text(data: Path, vocabulary: int) -> Iterator[npt.NDArray[np.int64]]:
    """The documents of ``make realdata``'s folder, again and again, each word by its hash."""
    from benchmarks.corpus import check_data, texts

    first = len(SPECIAL_TOKENS)
    documents = [
        np.array(
            [first + zlib.crc32(word.encode()) % (vocabulary - first) for word in text.split()],
            np.int64,
        )
        for found in texts(check_data(data)).values()
        for text in found
    ]
    while True:
        yield from documents


def write(
    folder: Path, documents: Iterator[npt.NDArray[np.int64]], tokens: int, vocabulary: int
) -> dict[str, str]:
    """Write ``tokens`` tokens or a little more as records, and a tokenizer of that size.

    Returns MaxText's keys that name them.
    """
    from tokenizers import Tokenizer, models

    from data_prep.stages.records import encode, writer

    folder.mkdir(parents=True)
    shard, written = writer(folder / "train-0.array_record"), 0
    while written < tokens:
        ids = [*next(documents).tolist(), SPECIAL_TOKENS.index(EOS)]
        shard.write(encode(ids))
        written += len(ids)
    shard.close()
    mixture = folder / "mixture.json"
    write_json(mixture, {"made": {"path": f"{folder}/train-*", "weight": 1.0}})
    # MaxText opens the tokenizer, although the records need none.
    names = [*SPECIAL_TOKENS, *(f"w{k}" for k in range(vocabulary - len(SPECIAL_TOKENS)))]
    model = models.WordLevel({name: k for k, name in enumerate(names)}, unk_token=names[0])
    (folder / "tokenizer").mkdir()
    Tokenizer(model).save(str(folder / "tokenizer" / "tokenizer.json"))
    special = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": EOS}
    write_json(folder / "tokenizer" / "tokenizer_config.json", special)
    return {
        "grain_train_mixture_config_path": str(mixture),
        "tokenizer_path": str(folder / "tokenizer"),
    }
