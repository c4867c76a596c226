"""Rules that decide whether a text contains a benchmark question: ours, and those of other tools.

All index the same problems, and judge the same texts. A rule's score of a text is the largest value
of its criterion over all problems; it finds the text if the score reaches its threshold.
"""

import contextlib
import io
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from data_prep.contamination import LONG_SHARE, SHARE, QuestionIndex
from data_prep.words import Words

GPT3_WORDS = 13
TULU_WORDS = 8
TULU_SHARE = 0.5

Score = Callable[[str], float]


@dataclass(frozen=True)
class DecontaminationRule:
    """A rule with an index of problems."""

    name: str
    score: Score
    """The score of a text, from 0 to 1."""
    threshold: float
    """The score from which on the rule finds a text."""


def ours(problems: Sequence[tuple[str, str]]) -> DecontaminationRule:
    """`data_prep.contamination`: the share of a long question's runs of letters in the text.

    A short question has the score 1 if it is found and else 0.
    """
    index = QuestionIndex([question for question, _ in problems])

    def score(text: str) -> float:
        return max(
            (
                share if index.is_long(number) else float(share >= SHARE)
                for number, share in index.shares(text).items()
            ),
            default=0.0,
        )

    return DecontaminationRule("ours", score, LONG_SHARE)


def strict(problems: Sequence[tuple[str, str]]) -> DecontaminationRule:
    """The same, with our rule for short questions for all of them."""
    index = QuestionIndex([question for question, _ in problems], long=sys.maxsize)
    return DecontaminationRule(
        "strict", lambda text: max(index.shares(text).values(), default=0.0), SHARE
    )


def gpt3(problems: Sequence[tuple[str, str]]) -> DecontaminationRule:
    """A 13-gram in common, as for GPT-3 (Brown et al., 2020, arXiv 2005.14165, appendix C).

    A gram is a word between white space, in lower case and without punctuation. Of a document that
    collides, GPT-3's authors removed the 13-gram and 200 characters around it, dropped pieces under
    200 characters, and dropped documents in more than ten pieces. 13-grams of more than ten
    documents were ignored. Here a text counts as found if any 13-gram of the problem, its question
    and solution, collides. Normalisation and grams are lm-evaluation-harness's own code (Janitor).
    """
    normalise, word_ngrams = _janitor()
    grams: set[str] = set()
    for problem in problems:
        grams.update(word_ngrams(normalise("\n".join(problem)), GPT3_WORDS))

    def score(text: str) -> float:
        return float(any(gram in grams for gram in word_ngrams(normalise(text), GPT3_WORDS)))

    return DecontaminationRule("gpt3", score, 1.0)


def tulu(problems: Sequence[tuple[str, str]]) -> DecontaminationRule:
    """Half of the question's words in common 8-grams, as for Tülu 3 (arXiv 2411.15124, 3.2).

    The rule is that of the paper: a word matches if an 8-gram with it occurs in the text. It is
    computed here with Janitor's words, and its threshold is 0.5.
    """
    normalise, word_ngrams = _janitor()
    entries: dict[str, list[tuple[int, int]]] = defaultdict(list)
    lengths = []
    for number, (question, _) in enumerate(problems):
        words = normalise(question).split()
        lengths.append(max(1, len(words)))
        for place, gram in enumerate(word_ngrams(" ".join(words), TULU_WORDS)):
            entries[gram].append((number, place))

    def score(text: str) -> float:
        covered: dict[int, set[int]] = defaultdict(set)
        for gram in word_ngrams(normalise(text), TULU_WORDS):
            for number, place in entries.get(gram, ()):
                covered[number].update(range(place, place + TULU_WORDS))
        return max((len(places) / lengths[n] for n, places in covered.items()), default=0.0)

    return DecontaminationRule("tulu3", score, TULU_SHARE)


def datatrove(
    problems: Sequence[tuple[str, str]], folder: Path, with_questions: bool
) -> DecontaminationRule:
    """datatrove's NGramsDecontFilter with its defaults: one 12-gram in common.

    The hashes are its indexer's: of the solution, of the passage from question to solution, and
    ``with_questions`` (``find_query_ngrams``, off by default) of the question. Words are split by
    `data_prep.words`, not by spaCy, and hashed by SHA-1, as xxhash 4 is not supported.
    """
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import (
        NGramsDecontConfig,
        NGramsDecontFilter,
        NGramsDecontIndexer,
    )
    from datatrove.utils.hashing import HashConfig, create_hash_func

    config = NGramsDecontConfig(
        find_query_ngrams=with_questions, hash_config=HashConfig(hash_fc="sha1")
    )
    # The indexer itself asks for lighteval, which its method for one problem does not use.
    indexer = SimpleNamespace(
        config=config, tokenizer=Words(), hash_func=create_hash_func(config.hash_config)
    )
    hashes = {
        gram
        for question, solution in problems
        for gram in NGramsDecontIndexer.compute_hashes(indexer, solution, question)
    }
    folder.mkdir(parents=True)
    array = np.array(sorted(hashes), dtype=config.hash_config.np_descr)
    array.tofile(folder / "gsm8k.index.hashes")
    block = NGramsDecontFilter(str(folder), config=config, language=Words())

    def score(text: str) -> float:
        return float(block.filter(Document(text=text, id="")) is not True)

    name = "datatrove_with_questions" if with_questions else "datatrove"
    return DecontaminationRule(name, score, 1.0)


def _janitor() -> tuple[Callable[[str], str], Callable[[str, int], Iterable[str]]]:
    """lm-evaluation-harness's normalisation, and its word n-grams of a text.

    Their module warns when it is imported without its C++ module.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from lm_eval.decontamination.janitor import Janitor, word_ngrams
    return Janitor().normalize_string, word_ngrams
