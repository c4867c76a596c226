"""Wrong input is reported before MaxText is imported, and checkpoints and starts are recorded."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorstore
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem

from pretrain import overlay, run, train
from pretrain.train import main
from tests.support import records
from tests.support.limits import room_for, unprivileged
from tinymathreason.checkpoints import MAXTEXT_FILES
from tinymathreason.cli import InputError
from tinymathreason.files import write_json
from tinymathreason.records.pretraining import Configuration, Phase

OVERLAY = "maxtext_configs/quickstart.yml"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.yml"], "none.yml: no such file"),
        ([OVERLAY, "learning_rte=1"], "unknown key 'learning_rte'; did you mean 'learning_rate'"),
        ([OVERLAY, "steps=lots"], "key 'steps': expected a number"),
        (
            [OVERLAY, "grain_train_mixture_config_path=none.json"],
            "no file none.json; build it first",
        ),
        ([OVERLAY, "run_name=''"], "run_name and base_output_directory must be set"),
    ],
)
def test_bad_input_is_one_line(arguments, words) -> None:
    with pytest.raises(InputError) as error:
        main(arguments)
    assert words in str(error.value)


def test_a_tokenizer_of_another_size_is_refused(tmp_path) -> None:
    (tmp_path / "mixture.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text(
        '{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 999, "content": "b"}]}'
    )
    mixture = f"grain_train_mixture_config_path={tmp_path / 'mixture.json'}"
    with pytest.raises(InputError, match="the tokenizer has 1000 entries, vocab_size is 448"):
        main([OVERLAY, mixture, f"tokenizer_path={tmp_path}"])


@pytest.fixture
def words(tmp_path) -> list[str]:
    """Arguments of a run in tmp_path, with a mixture of one record file and a tokenizer."""
    write_mixture(tmp_path, "a" * 64)
    vocabulary = {str(i): i for i in range(448)}
    write_json(tmp_path / "tokenizer.json", {"model": {"vocab": vocabulary}, "added_tokens": []})
    return [
        OVERLAY,
        f"grain_train_mixture_config_path={tmp_path / 'mixture.json'}",
        f"base_output_directory={tmp_path}",
        "run_name=run",
        f"tokenizer_path={tmp_path}",
    ]


def write_mixture(folder: Path, sha256: str, seconds: float = 1.0, weight: float = 1.0) -> None:
    write_json(folder / "mixture.json", {"facts": {"path": "facts/train-*", "weight": weight}})
    shards = [records.shard(path="facts/train-0.array_record", sha256=sha256)]
    sources = {"facts": records.source(shards=shards)}
    records.mixture(sources=sources, seconds=seconds).write(folder / "manifest.json")


def plant(config: dict, step: int, layers: int = 4, scanned: bool = True) -> None:
    """Write a complete checkpoint of the quickstart's model, with ``layers`` of its 4 layers."""
    folder = Path(run.checkpoint(config, step))
    layer = {
        "mlp.wi_0.kernel": (128, 352),
        "mlp.wi_1.kernel": (128, 352),
        "mlp.wo.kernel": (352, 128),
        "self_attention.query.kernel": (128, 4, 32),
        "self_attention.key.kernel": (128, 1, 32),
        "self_attention.value.kernel": (128, 1, 32),
        "self_attention.out.kernel": (4, 32, 128),
        "pre_self_attention_layer_norm.scale": (128,),
        "post_self_attention_layer_norm.scale": (128,),
    }
    shapes = {
        "token_embedder.embedding": (448, 128),
        "decoder.logits_dense.kernel": (128, 448),
        "decoder.decoder_norm.scale": (128,),
    }
    if scanned:
        shapes |= {
            f"decoder.layers.{name}": (shape[0], layers, *shape[1:])
            for name, shape in layer.items()
        }
    else:
        held = [0, 2, 3, 1][:layers]
        shapes |= {f"decoder.layers_{i}.{n}": s for i in held for n, s in layer.items()}
    store = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/items/"}}
    for prefix in ("params.params.", "opt_state.mu.params."):
        for path, shape in shapes.items():
            spec = {
                "driver": "zarr3",
                "kvstore": {**store, "path": f"{prefix}{path}/"},
                "metadata": {"shape": shape, "data_type": "float32"},
                "create": True,
            }
            tensorstore.open(spec).result()
    for name in MAXTEXT_FILES:
        (folder / name).write_text("{}")


def test_a_finished_run_is_not_started_again(tmp_path, words, capsys) -> None:
    config = overlay.load(words[0], words[1:])
    plant(config, 250)
    run.StartWriter(config, 1, 1, "cpu").end("finished")
    main(words)
    assert "nothing is left to do" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"another configuration: base_mlp_dim was 352, is 64"):
        main([*words, "base_mlp_dim=64"])
    main([*words, "eval_interval=7"])


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ("2", [], "hosts were 1, are 2"),
        ("1", ["learning_rate=0.1"], "learning_rate was 0.003, is 0.1"),
        ("1", ["dtype=bfloat16"], "dtype was 'float32', is 'bfloat16'"),
        ("1", ["enable_data_shuffling=false"], "enable_data_shuffling was True, is False"),
        ("1", ["base_num_decoder_layers=5"], "base_num_decoder_layers was 4, is 5"),
    ],
)
def test_a_change_that_would_alter_the_training_is_refused(
    words, monkeypatch, environment, arguments, message
) -> None:
    config = overlay.load(words[0], words[1:])
    run.StartWriter(config, 1, 1, "cpu")
    monkeypatch.setenv("JAX_PROCESS_COUNT", environment)
    # Before the first checkpoint everything may change.
    run.check_resumable(overlay.load(words[0], [*words[1:], *arguments]), int(environment))
    plant(config, 2)
    with pytest.raises(InputError, match=message):
        main([*words, *arguments])


def test_devices_multiply_the_batch(words) -> None:
    config = overlay.load(words[0], words[1:])
    run.StartWriter(config, 1, 8, "cpu")
    plant(config, 2)
    run.check_resumable(config, 1, 8)
    with pytest.raises(InputError, match="devices were 8, are 4"):
        run.check_resumable(config, 1, 4)


def test_a_changed_mixture_is_refused_and_a_moved_one_is_not(tmp_path, words) -> None:
    config = overlay.load(words[0], words[1:])
    run.StartWriter(config, 1, 1, "cpu")
    plant(config, 2)
    write_mixture(tmp_path, "a" * 64, seconds=2.0)
    run.check_resumable(config)
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(tmp_path / "mixture.json", moved)
    shutil.copy(tmp_path / "manifest.json", moved)
    run.check_resumable({**config, "grain_train_mixture_config_path": str(moved / "mixture.json")})
    for change in ({"sha256": "b" * 64}, {"sha256": "a" * 64, "weight": 0.5}):
        write_mixture(tmp_path, **change)
        with pytest.raises(InputError, match=r"mixture\.json has other records or weights"):
            main(words)


def test_every_start_is_recorded(tmp_path, words) -> None:
    config = overlay.load(words[0], words[1:])
    run.StartWriter(config, 2, 8, "TPU v4").end("failed: XlaRuntimeError: out of memory")
    plant(config, 2)
    later = {**config, "eval_interval": 7}
    run.StartWriter(later, 2, 8, "TPU v4")
    first, second = run.starts(config)
    stored = Configuration.load(tmp_path / "run" / "config.json")
    assert stored.maxtext() == json.loads(json.dumps(config))
    assert first.outcome == "failed: XlaRuntimeError: out of memory"
    assert (first.step, first.resumed_from, first.changed) == (None, None, {})
    assert first.provenance.time <= first.end <= second.provenance.time
    assert (second.resumed_from, second.changed) == (2, {"eval_interval": 7})
    assert (second.end, second.outcome) == (None, None)
    assert second.hosts == 2
    assert second.devices == 8
    assert len(second.mixture.manifest_sha256) == 64
    assert len(second.tokenizer_sha256) == 64
    assert second.provenance.command
    assert second.provenance.versions
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoints", "config.json", "provenance.json",
    ]  # fmt: skip


def test_the_phases_before_a_run_are_recorded(tmp_path, words) -> None:
    config = overlay.load(words[0], words[1:])
    run.StartWriter(config, 1, 1, "cpu")
    began = {**config, "run_name": "last", "load_full_state_path": f"{tmp_path}/run/checkpoints/3"}
    run.StartWriter(began, 1, 1, "cpu")
    (before,), (after,) = run.starts(config), run.starts(began)
    assert before.earlier == []
    assert after.earlier == [Phase(run="run", recipe=None, file=before.mixture.file, last_step=3)]


def test_half_written_checkpoints_do_not_count(tmp_path, words, capsys) -> None:
    config = overlay.load(words[0], words[1:])
    assert run.checkpoints(config) == []
    plant(config, 10)
    plant(config, 9)
    plant(config, 12)
    folder = tmp_path / "run" / "checkpoints"
    (folder / "12" / "commit_success.txt").unlink()
    (folder / "14").mkdir()
    (folder / "15.orbax-checkpoint-tmp").mkdir()
    assert run.checkpoints(config) == [9, 10]
    run.set_aside_incomplete(config)
    names = sorted(path.name for path in folder.iterdir())
    assert [name.partition(".")[:2] for name in names] == [
        ("10", ""), ("12", "."), ("14", "."), ("15", "."), ("9", ""),
    ]  # fmt: skip
    assert (next(folder.glob("12.*")) / "_CHECKPOINT_METADATA").is_file()
    assert "renamed to 12.incomplete." in capsys.readouterr().out


@pytest.mark.parametrize("scanned", [True, False])
def test_a_checkpoint_without_every_layer_is_refused(words, scanned) -> None:
    config = overlay.load(words[0], words[1:])
    plant(config, 2, scanned=scanned)
    assert run.check_parameters(config, 2) == run.parameters(config)
    plant(config, 4, layers=3, scanned=scanned)
    message = r"checkpoints/4: the checkpoint has 643,968 parameters, the configuration has 820"
    with pytest.raises(InputError, match=message) as error:
        main(words)
    assert ("layers without weights: 1;" in str(error.value)) is not scanned


def test_the_first_save_is_checked_while_training_continues(words, monkeypatch) -> None:
    monkeypatch.setattr(train, "POLL_SECONDS", 0.01)
    config = overlay.load(words[0], words[1:])
    failures: list[InputError] = []
    early = train.FirstCheckpointCheck(config, failures.append)
    early.start()
    plant(config, 2)
    early.join(60)
    assert not early.is_alive()
    assert failures == []
    # In a short run, the first save may come at the very end.
    monkeypatch.setattr(train, "POLL_SECONDS", 60.0)
    config["run_name"] = "short"
    late = train.FirstCheckpointCheck(config, failures.append)
    late.start()
    time.sleep(0.1)
    plant(config, 4, layers=2)
    late.close()
    assert len(failures) == 1
    assert "the checkpoint has" in str(failures[0])


def test_a_wrong_first_save_ends_the_run(tmp_path, words) -> None:
    config = overlay.load(words[0], words[1:])
    plant(config, 2, layers=2)
    write_json(tmp_path / "resolved.json", config)
    program = (
        "import json, sys, time; from pretrain import run, train\n"
        "config = json.load(open(sys.argv[1]))\n"
        "with train.recorded(config, run.StartWriter(config, 1, 1, 'cpu')): time.sleep(60)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "resolved.json"], capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert "the checkpoint has 467,584 parameters" in ended.stderr
    assert run.starts(config)[0].outcome.startswith("failed: ")


def test_a_crash_is_not_reported_as_wrong_input(words) -> None:
    config = overlay.load(words[0], words[1:])
    start = run.StartWriter(config, 1, 1, "cpu")
    crash = pytest.raises(RuntimeError, match="training failed: disk full")
    with crash, train.recorded(config, start):
        raise OSError("disk full")
    assert run.starts(config)[0].outcome == "failed: OSError: disk full"


@pytest.mark.parametrize(
    ("saved", "preempted", "status", "recorded"),
    [
        ([100, 250], False, 0, "finished"),
        ([250], True, 0, "finished"),
        ([100, 120], True, train.PREEMPTED, "preempted"),
        ([100], False, None, "ended early"),
        ([], False, None, "ended early"),
    ],
)
def test_the_exit_status_shows_how_it_ended(words, saved, preempted, status, recorded) -> None:
    config = overlay.load(words[0], words[1:])
    start = run.StartWriter(config, 1, 1, "cpu")
    if status is None:
        with pytest.raises(InputError, match="training ended before step 250"):
            train.exit_status(config, start, saved, preempted)
    else:
        assert train.exit_status(config, start, saved, preempted) == status
    assert run.starts(config)[0].outcome == recorded


class Bucket(MemoryFileSystem):
    """An in-memory file system for gs://, in which folders exist only through their files."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("gs:/"))


def test_a_bucket_is_as_good_as_a_disk(words, monkeypatch, capsys) -> None:
    bucket = Bucket()
    monkeypatch.setattr(bucket, "store", {})
    monkeypatch.setattr(bucket, "pseudo_dirs", [""])
    monkeypatch.setattr(backend.fsspec_backend, "fs", lambda path: bucket)
    config = overlay.load(words[0], [*words[1:], "base_output_directory=gs://models/runs"])
    assert str(run.run_directory(config)) == "gs://models/runs/run"
    assert run.checkpoints(config) == []
    run.StartWriter(config, 1, 1, "cpu").end("preempted")
    for step in (100, 250):
        for name in MAXTEXT_FILES:
            if (step, name) != (250, "commit_success.txt"):
                bucket.pipe(f"gs://models/runs/run/checkpoints/{step}/{name}", b"{}")
    assert run.checkpoints(config) == [100]
    run.set_aside_incomplete(config)
    assert bucket.exists("gs://models/runs/run/checkpoints/250/_CHECKPOINT_METADATA")
    bucket.pipe("gs://models/runs/run/checkpoints/250/commit_success.txt", b"")
    run.StartWriter(config, 1, 1, "cpu").end("finished")
    assert [entry.step for entry in run.starts(config)] == [None, 250]
    assert "/models/runs/run/provenance.json" in bucket.store
    main([*words, "base_output_directory=gs://models/runs"])
    assert "nothing is left to do" in capsys.readouterr().out
    with pytest.raises(InputError, match="learning_rate was"):
        main([*words, "base_output_directory=gs://models/runs", "learning_rate=1.0"])


def test_the_parameters_of_the_card_are_counted() -> None:
    config = overlay.load("maxtext_configs/tinymathreason_1b.yml")
    assert run.parameters(config) == 1_123_117_056
    assert run.parameters({**config, "num_experts": 8}) is None


def test_the_entry_in_maxtext_is_ours() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "maxtext.train", "none.yml"], capture_output=True, text=True
    )
    assert (process.returncode, process.stderr) == (2, "error: none.yml: no such file\n")


def test_an_unwritable_folder_is_reported_before_maxtext_is_imported(words, tmp_path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    message = r"locked/run: cannot be written \(Permission denied: .*/locked is "
    more = ["grain_train_mixture_config_path=", "dataset_type=synthetic"]
    with unprivileged(), pytest.raises(InputError, match=message):
        main([*words, *more, f"base_output_directory={tmp_path / 'locked'}"])


def test_a_record_without_room_is_one_line(words, tmp_path) -> None:
    config = overlay.load(words[0], words[1:])
    with room_for(100), pytest.raises(InputError, match=r"config\.json: cannot be written \(File"):
        run.StartWriter(config, 1, 1, "cpu")
    assert not run.run_directory(config).exists()
