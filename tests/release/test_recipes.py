"""The recipes that a model was made by are told from its records, through every fine-tuning."""

from release.recipes import configurations, sentences, summary
from release.records import Folders, RunRecords
from tests.support import records
from tinymathreason.files import write_json
from tinymathreason.provenance import model_hash
from tinymathreason.records.pretraining import Phase
from tinymathreason.records.report import PhaseSummary, RecipeSummary

PHASE = Phase(run="a", recipe="maths", file="mixture.json", last_step=9)


def model(folder, seed: int):
    write_json(folder / "config.json", {"seed": seed})
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def command(*words: str):
    return records.provenance(command=["python", "-m", "sft.run", *words])


def test_the_names_of_all_tunings_are_found_from_the_last_model(tmp_path) -> None:
    base, first, second = (model(tmp_path / name, k) for k, name in enumerate("abc"))
    records.sft(
        model_name_or_path=str(base), base=model_hash(base), phases=[PHASE],
        provenance=command("--config", "sft/configs/sft_2026.yaml", "--seed", "1"),
    ).write(first / "sft.json")  # fmt: skip
    records.dpo(
        model_name_or_path=str(first), base=model_hash(first), phases=[PHASE],
        provenance=command("--config=dpo.yaml"),
    ).write(second / "dpo.json")  # fmt: skip
    assert configurations(second) == ["sft_2026", "dpo"]
    assert configurations(first) == ["sft_2026"]
    assert configurations(base) == []
    # Without the folder of the conversion, the last tuning's record tells the mixture.
    nowhere = tmp_path / "nowhere"
    folders = Folders(nowhere, nowhere, nowhere, second, nowhere, nowhere)
    found = summary(RunRecords.load(folders))
    assert found == RecipeSummary(
        pretraining=[PhaseSummary(recipe="maths", weights=None, last_step=9)],
        tuning=["sft_2026", "dpo"],
    )
    assert sentences(found) == {"mixture": "maths to step 9", "tuning": "sft_2026, then dpo"}


def test_what_no_record_tells_is_left_out() -> None:
    unknown = PhaseSummary(recipe=None, weights=None, last_step=3)
    assert sentences(RecipeSummary(pretraining=[unknown], tuning=[])) == {
        "mixture": "", "tuning": "",
    }  # fmt: skip
    steps = [PhaseSummary(recipe=name, weights=None, last_step=k) for k, name in enumerate("abc")]
    assert sentences(RecipeSummary(pretraining=steps, tuning=[])) == {
        "mixture": "a to step 0; then b to step 1; last phase: c to step 2",
        "tuning": "",
    }
