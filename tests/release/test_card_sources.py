"""The table of fine-tuning's sources tells their licences and generators, as its manifest does."""

from types import SimpleNamespace

from release.cards.left_out import LeftOut
from release.cards.sources import text_terms, tuning
from tests.support import records
from tinymathreason.provenance import file_hash
from tinymathreason.records.examples import ExampleData
from tinymathreason.records.mixture import RecipeSource


def test_the_licence_of_a_set_is_told(tmp_path) -> None:
    path = tmp_path / "manifest.json"
    for license_, cells in (("cc-by-4.0", "| cc-by-4.0"), (None, "|")):
        source = RecipeSource(format="parquet", path="hf://datasets/a/b@c0ffee/*", license=license_)
        manifest = records.examples()
        data = ExampleData(sources={"gsm8k": source}, decontaminate=[])
        manifest = records.change(manifest, inputs=records.change(manifest.inputs, data=data))
        manifest.write(path)
        tuned = records.sft(manifest=file_hash(path))
        run = SimpleNamespace(tuned=tuned, examples=manifest, examples_path=path)
        part = tuning(run, LeftOut())  # type: ignore[arg-type]
        assert part is not None
        head, _, row = part["table"].splitlines()
        assert ("licence" in head) == (license_ is not None)
        assert cells in row
        assert part["datasets"] == ["a/b"]


def test_the_models_that_wrote_a_set_are_told(tmp_path) -> None:
    source = RecipeSource(format="parquet", path="x", generated_by=["org/a", "org/b"])
    manifest = records.examples()
    data = ExampleData(sources={"gsm8k": source}, decontaminate=[])
    manifest = records.change(manifest, inputs=records.change(manifest.inputs, data=data))
    manifest.write(tmp_path / "manifest.json")
    tuned = records.sft(manifest=file_hash(tmp_path / "manifest.json"))
    run = SimpleNamespace(tuned=tuned, examples=manifest, examples_path=tmp_path / "manifest.json")
    part = tuning(run, LeftOut())  # type: ignore[arg-type]
    assert part is not None
    head, _, row = part["table"].splitlines()
    assert "text by" in head
    assert "org/a, org/b" in row
    assert part["generators"] == ["org/a", "org/b"]


def test_terms_of_models_that_wrote_text() -> None:
    assert text_terms([], "Mine") is None
    said = "org/a, meta-llama/Llama-3.3-70B; their licences may set terms for this model"
    models = ["org/a", "meta-llama/Llama-3.3-70B", "org/a"]
    assert text_terms(models, "Llama-Mine") == said
    assert text_terms(models, "Mine") == f"{said}, and Llama's wants its name to begin with Llama"
    assert text_terms(["org/a"], "Mine") == "org/a; their licences may set terms for this model"
