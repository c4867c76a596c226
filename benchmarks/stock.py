"""Data preparation with datatrove's stock blocks alone, as a peer of ours.

It has the same steps as ours, each written as in datatrove's examples and with default settings:
words by spaCy, ids by Hugging Face's tokenizers, compressed JSON lines between the steps. One
process runs all of them, with one source per task. `benchmarks.data_prep` runs it; it needs the
extra ``benchmarks``.
"""

import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.decont import NGramsDecontConfig, NGramsDecontFilter
from datatrove.pipeline.dedup import (
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig, create_hash_func
from datatrove.utils.text import ngrams, simplify_text
from datatrove.utils.typeshelper import Languages
from datatrove.utils.word_tokenizers import WordTokenizer, load_word_tokenizer

from benchmarks.corpus import QUESTIONS, SOURCES
from data_prep.stages.records import encode, writer
from data_prep.words import Words
from tinymathreason.chatml import EOS

# The default, xxhash, fails: datatrove passes text, and xxhash 4 accepts only bytes.
HASH = HashConfig(hash_fc="sha1")


def text_of(document: Document) -> str:
    """The text that exact deduplication compares."""
    return str(document.text)


EXACT = ExactDedupConfig(content_getter=text_of, hash_config=HASH)
MINHASH = MinhashConfig(hash_config=HASH)
DECONTAMINATION = NGramsDecontConfig(hash_config=HASH)


def cpu_seconds() -> float:
    """User and system time of this process and of its finished children."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def index_questions(questions: Path, folder: Path, words: WordTokenizer) -> None:
    """Write the hashes of the questions' n-grams, as NGramsDecontFilter reads them.

    NGramsDecontIndexer does this for lighteval's tasks, and does not run without lighteval.
    """
    hash_of, hashes = create_hash_func(HASH), set()
    for line in questions.read_text(encoding="utf-8").splitlines():
        simplified = simplify_text(json.loads(line)["question"], DECONTAMINATION.norm_config)
        for gram in ngrams(words.word_tokenize(simplified), DECONTAMINATION.n_grams):
            hashes.add(hash_of(" ".join(gram)))
    folder.mkdir(parents=True)
    array = np.array(sorted(hashes), dtype=HASH.np_descr)
    array.tofile(folder / f"{questions.stem}.index.hashes")


def write_records(tokens: Path, output: Path, names: list[str]) -> dict[str, int]:
    """Write each task's tokenised documents, shuffled by datatrove, as one file of records."""
    output.mkdir()
    counts = {"kept": 0, "tokens": 0}
    for name, file in zip(names, sorted(tokens.glob("*.ds")), strict=True):
        ids = np.fromfile(file, dtype="<u2")
        ends = np.fromfile(file.with_name(f"{file.name}.index"), dtype="<u8").tolist()
        records = writer(output / f"{name}.array_record")
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            records.write(encode(ids[start:end].tolist()))
        records.close()
        counts = {"kept": counts["kept"] + len(ends), "tokens": counts["tokens"] + len(ids)}
    return counts


def build(data: str, tokenizer: str, output: str, words: str) -> None:
    """Write ArrayRecord files to ``output``; prints the CPU seconds of each step, and the counts.

    ``data`` is the folder of the sources, ``tokenizer`` a tokenizer.json of at most 65,536
    entries, ``words`` spacy or regex.
    """
    # datatrove uses many cores with one process each, so tokenizers must not use them too.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    home = Path(output)
    # datatrove assigns the files of "read" to tasks in the order of their names.
    names = sorted(SOURCES, key=lambda name: f"{name}.jsonl.gz")
    spent = {"imports": cpu_seconds()}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        before = cpu_seconds()
        yield
        spent[name] = cpu_seconds() - before

    def run(name: str, tasks: int, *blocks: PipelineStep) -> None:
        logs = str(home / "logs" / name)
        LocalPipelineExecutor(list(blocks), tasks=tasks, workers=1, logging_dir=logs).run()

    def folder(name: str) -> str:
        return str(home / name)

    with step("words"):
        splitter = Words() if words == "regex" else load_word_tokenizer(Languages.english)
    with step("read"):
        for name, (kind, files) in SOURCES.items():
            path = Path(data) / files
            reader: Callable[..., PipelineStep] = (
                ParquetReader if kind == "parquet" else JsonlReader
            )
            kept = JsonlWriter(folder("read"), output_filename=f"{name}.jsonl.gz")
            run(f"read/{name}", 1, reader(str(path.parent), glob_pattern=path.name), kept)

    count, read = len(names), JsonlReader(folder("read"))
    with step("exact_duplicates"):
        run("signature", count, read, ExactDedupSignature(folder("exact/signatures"), EXACT))
        run("find", 1, ExactFindDedups(folder("exact/signatures"), folder("exact/found"), EXACT))
        drop = ExactDedupFilter(folder("exact/found"), EXACT)
        run("filter", count, read, drop, JsonlWriter(folder("exact/kept")))

    read, signatures = JsonlReader(folder("exact/kept")), folder("near/signatures")
    with step("near_signatures"):
        sign = MinhashDedupSignature(signatures, MINHASH, language=splitter)
        run("near_signature", count, read, sign)
    with step("near_duplicates"):
        buckets = MinhashDedupBuckets(signatures, folder("near/pairs"), config=MINHASH)
        run("near_buckets", MINHASH.num_buckets, buckets)
        cluster = MinhashDedupCluster(folder("near/pairs"), folder("near/removed"), MINHASH)
        run("near_cluster", 1, cluster)
        alone = MinhashDedupFilter(folder("near/removed"))
        run("near_filter", count, read, alone, JsonlWriter(folder("near/kept")))

    with step("decontamination"):
        index_questions(Path(data) / QUESTIONS, home / "index", splitter)
        clean = NGramsDecontFilter(folder("index"), DECONTAMINATION, language=splitter)
        read = JsonlReader(folder("near/kept"))
        run("decontamination", count, read, clean, JsonlWriter(folder("clean")))

    with step("tokenise"):
        tokens = DocumentTokenizer(folder("tokens"), tokenizer, eos_token=EOS)
        run("tokenise", count, JsonlReader(folder("clean")), tokens)
    with step("records"):
        counts = write_records(home / "tokens", home / "records", names)
    print(json.dumps({"stages": {k: round(v, 2) for k, v in spent.items()}, **counts}))
