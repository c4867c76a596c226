"""The table of fine-tuning's sources tells their licences, as its manifest does."""

from types import SimpleNamespace

from release.cards.left_out import LeftOut
from release.cards.sources import tuning
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
