"""The phases of pretraining are handed on by the records beside each checkpoint and model."""

import pytest

from tests.support import records
from tinymathreason.cli import InputError
from tinymathreason.phases import of_checkpoint, of_model
from tinymathreason.records.pretraining import MixtureHash, Phase

FIRST = Phase(run="long", recipe="maths", file="mixture.json", last_step=5)
LAST = Phase(run="last", recipe="decay", file="anneal.json", last_step=8)


def start(phase: Phase, earlier: list[Phase]):
    mixture = MixtureHash(
        manifest_sha256=None, content_sha256=records.SHA, recipe=phase.recipe, file=phase.file
    )
    return records.starts(records.start(), records.start(mixture=mixture, earlier=earlier))


def test_a_checkpoint_has_the_phases_of_its_run(tmp_path) -> None:
    for phase, earlier in ((FIRST, []), (LAST, [FIRST])):
        start(phase, earlier).write(tmp_path / phase.run / "provenance.json")
    assert of_checkpoint(f"{tmp_path}/long/checkpoints/5/items") == [FIRST]
    assert of_checkpoint(f"{tmp_path}/last/checkpoints/8/") == [FIRST, LAST]
    assert of_checkpoint(f"{tmp_path}/last/checkpoints/7") == [
        FIRST, LAST.model_copy(update={"last_step": 7}),
    ]  # fmt: skip
    assert of_checkpoint(f"{tmp_path}/other/checkpoints/5") == []
    assert of_checkpoint(f"{tmp_path}/last/8") == []
    assert of_checkpoint("nowhere://bucket/last/checkpoints/8") == []
    (tmp_path / "last" / "provenance.json").write_text("{")
    with pytest.raises(InputError, match=r"provenance.json"):
        of_checkpoint(f"{tmp_path}/last/checkpoints/8")


def test_a_model_has_the_phases_of_its_record(tmp_path) -> None:
    assert of_model(tmp_path) == []
    records.sft(phases=[FIRST]).write(tmp_path / "sft.json")
    assert of_model(tmp_path) == [FIRST]
    records.conversion(phases=[FIRST, LAST]).write(tmp_path / "conversion.json")
    assert of_model(tmp_path) == [FIRST, LAST]
    (tmp_path / "conversion.json").write_text('{"phases": [{"run": 3}]}')
    with pytest.raises(InputError, match=r"conversion.json: phases.0"):
        of_model(tmp_path)
