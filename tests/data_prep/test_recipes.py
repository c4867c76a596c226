"""The 1B model's recipes build from local files of the schemas that their datasets publish."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from data_prep.build import build
from data_prep.recipe import Recipe
from tests.support.builds import documents
from tinymathreason.config import load, read_yaml
from tinymathreason.records.mixture import Mixture

RECIPES = Path("data_prep/recipes")
COMMIT = re.compile(r"hf://datasets/([^/]+/[^/]+)@[0-9a-f]{40}/")
EQUATION = "By the theorem, the equation x + y = z has this solution. " * 3
"""What makes a text one of mathematics for the classifier."""
DOCUMENTS = 12
"""Documents of a source."""

Row = dict[str, Any]


def finemath(text: str, number: int) -> Row:
    return {
        "url": f"https://a.org/{number}", "fetch_time": 1_600_000_000,
        "content_mime_type": "text/html", "warc_filename": "a.warc.gz", "warc_record_offset": 1,
        "warc_record_length": 2, "text": text, "token_count": 3, "char_count": len(text),
        "metadata": "{}", "score": 4.1, "int_score": 4, "crawl": "CC-MAIN-2024-10",
        "snapshot_type": "latest", "language": "en", "language_score": 0.9,
    }  # fmt: skip


def infiwebmath(text: str, number: int) -> Row:
    return {
        "url": f"https://a.org/{number}", "metadata": "{}", "score": 3.2, "int_score": 3,
        "token_count": 3, "char_count": len(text), "text": text,
    }  # fmt: skip


def megamath(text: str, number: int) -> Row:
    return {"text": text, "url": f"https://a.org/{number}"}


def proof_pile(text: str, number: int) -> Row:
    return {"text": text, "meta": {"path": f"{number}.py"}}


def common_pile(text: str, number: int) -> Row:
    metadata = {"license": "MIT", "language": "Python"}
    return {"id": str(number), "text": text, "source": "stackv2", "metadata": metadata}


def dolmino(text: str, number: int) -> Row:
    return {"id": f"d{number}", "text": text, "added": "2024-11-01", "created": "2024-10-01"}


def fineweb(text: str, number: int) -> Row:
    return {
        "text": text, "id": f"<urn:uuid:{number}>", "dump": "CC-MAIN-2024-10",
        "url": "https://a.org", "file_path": "s3://a", "language": "en", "language_score": 0.9,
        "token_count": 3, "score": 3.4, "int_score": 3,
    }  # fmt: skip


FILES: dict[str, list[tuple[str, Callable[[str, int], Row]]]] = {
    "HuggingFaceTB/finemath": [
        ("finemath-4plus/train-00000-of-00064.parquet", finemath),
        ("finemath-3plus/train-00000-of-00128.parquet", finemath),
        ("infiwebmath-3plus/train-00000-of-00092.parquet", infiwebmath),
    ],
    "LLM360/MegaMath": [("megamath-web-pro/00000.parquet", megamath)],
    "EleutherAI/proof-pile-2": [("algebraic-stack/train/python0000.jsonl.zst", proof_pile)],
    "common-pile/stackv2_edu_filtered": [("stack-edu-0075.json.gz", common_pile)],
    "HuggingFaceFW/fineweb-edu": [
        ("sample/350BT/000_00000.parquet", fineweb),
        ("sample/100BT/000_00000.parquet", fineweb),
        ("sample/10BT/000_00000.parquet", fineweb),
    ],
    "allenai/dolmino-mix-1124": [
        ("data/math/tinyGSM-MIND/2students/tiny_gsm_inline_part000.000000.jsonl.gz", dolmino),
        ("data/math/mathcoder2-synthmath/m-a-p_Matrix/filtered-math/book_math.jsonl", dolmino),
        ("data/math/gsm8k/socratic/test/0.jsonl.zst", dolmino),
        ("data/flan/tulu_flan-0000.json.gz", dolmino),
    ],
    "openai/gsm8k": [("main/test-00000-of-00001.parquet", lambda text, _: {"question": text})],
    "EleutherAI/hendrycks_math": [
        ("algebra/test-00000-of-00001.parquet", lambda text, _: {"problem": text})
    ],
    "qintongli/GSM-Plus": [
        ("default/test/0000.parquet", lambda text, _: {"question": text})
    ],
    "ChilleD/SVAMP": [
        ("data/test-00000-of-00001.parquet", lambda text, _: {"Body": text, "Question": "Why?"})
    ],
    "EleutherAI/asdiv": [
        ("asdiv/validation-00000-of-00001.parquet", lambda text, _: {"body": text})
    ],
    "MU-NLPC/Calc-mawps": [
        ("data/test-00000-of-00001.parquet", lambda text, _: {"question": text})
    ],
}  # fmt: skip
"""Files of each dataset by their published paths, and the form of a row."""


def write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return
    compress = {".zst": zstandard.compress, ".gz": gzip.compress}.get(path.suffix, bytes)
    path.write_bytes(compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> Path:
    """A folder with a few files of every dataset.

    Every 4th text of FineMath-3+ is from FineMath-4+, and of MegaMath from InfiMM's set. All of
    FineMath-4+ and every other text of FineWeb-Edu's second sample is mathematics.
    """
    folder = tmp_path_factory.mktemp("datasets")
    for number, (name, files) in enumerate(FILES.items()):
        for part, (path, row) in enumerate(files):
            texts = documents(100 * number + part, DOCUMENTS)
            if path.startswith("finemath-4plus"):
                texts = [EQUATION + text for text in texts]
            if path.startswith("sample/100BT"):
                texts[::2] = [EQUATION + text for text in texts[::2]]
            if path.startswith("finemath-3plus"):
                texts[::4] = [EQUATION + text for text in documents(0, DOCUMENTS)[::4]]
            if name == "LLM360/MegaMath":
                texts[::4] = documents(2, DOCUMENTS)[::4]
            write(folder / name / path, [row(text, k) for k, text in enumerate(texts)])
    return folder


def local(recipe: str, datasets: Path, folder: Path) -> Recipe:
    """A recipe that reads the local files instead, and trains a tiny tokenizer."""
    content = COMMIT.sub(rf"{datasets}/\1/", (RECIPES / f"{recipe}.yaml").read_text())
    path = folder / f"{recipe}.yaml"
    path.write_text(content.replace("runs/", f"{folder}/"))
    overrides = ["eval_fraction=0.3", "token_budget=null", "executor.workers=1"]
    if "train" in read_yaml(path)["tokenizer"]:
        overrides.append("tokenizer.train.vocab_size=300")
    return load(Recipe, path, overrides)


def test_the_recipes_of_2026_build_from_the_published_schemas(datasets, tmp_path) -> None:
    before = {}
    for name in ("tinymathreason_1b_2026", "tinymathreason_1b_2026_decay"):
        recipe = local(name, datasets, tmp_path)
        manifest = build(recipe)
        assert isinstance(manifest, Mixture)
        for source, entry in manifest.sources.items():
            assert entry.documents.read == DOCUMENTS, source
            assert manifest.recipe.sources[source].license == recipe.sources[source].license
            assert recipe.sources[source].license
        models = manifest.recipe.sources["megamath-web-pro"].generated_by
        assert models == ["meta-llama/Llama-3.3-70B-Instruct"]
        assert (
            "| meta-llama/Llama-3.3-70B-Instruct" in (recipe.output_dir / "report.md").read_text()
        )
        before[name] = manifest
    first = before["tinymathreason_1b_2026"].sources
    assert first["fineweb-edu-math"].documents.rejected == {"not_mathematics": DOCUMENTS / 2}
    removed = {
        name: {of: each.documents for of, each in (entry.duplicates or {}).items()}
        for name, entry in first.items()
    }
    assert {name: of for name, of in removed.items() if of} == {
        "finemath-3plus": {"finemath-4plus": 3},
        "megamath-web-pro": {"infiwebmath-3plus": 3},
    }
    files = [f for f in before["tinymathreason_1b_2026_decay"].inputs if "dolmino" in f]
    assert files
    assert not any("/test/" in file for file in files), "a benchmark's test questions are read"


@pytest.mark.parametrize(
    ("recipe", "steps"),
    [
        ("tinymathreason_1b", 254_313),
        ("tinymathreason_1b_2026", 254_313),
        ("tinymathreason_1b_2026_decay", 25_431),
    ],
)
def test_the_budget_is_what_the_overlay_trains_on(recipe: str, steps: int) -> None:
    made = load(Recipe, RECIPES / f"{recipe}.yaml")
    assert made.token_budget == pytest.approx(steps * 288 * 4096, rel=1e-4)
    for name, source in made.sources.items():
        assert source.license, name
        assert COMMIT.match(source.path), name
