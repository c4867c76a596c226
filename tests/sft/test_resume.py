"""A run killed at any moment ends as one that was not; a full disk costs nothing."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback, trainer

from sft import checkpoints, run
from sft.checkpoints import MODEL, check_owner, claim, last_checkpoint, sweep
from sft.model import save
from tests.support import records
from tests.support.limits import room_for
from tests.support.tuning import history, record, weights, write
from tinymathreason.cli import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

PACKED = """
packing: true
accuracy: {task: arithmetic, problems: 4, every: 2, max_new_tokens: 4}
"""


def environment() -> dict[str, str]:
    """The order of a sum, and so its last bits, depends on the number of threads."""
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def start(config) -> subprocess.Popen:
    command = [sys.executable, "-m", "sft.run", "--config", str(config)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())


# Killed from within: whoever listened to it would come too late on a busy machine.
KILLED = """
import os, runpy, signal, sys
from transformers import TrainerCallback, trainer
step = int(sys.argv.pop(1))
class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
trainer.DEFAULT_CALLBACKS.append(Kill)
runpy.run_module("sft.run", run_name="__main__", alter_sys=True)
"""


def kill_at(process: subprocess.Popen, step: int, delay: float = 0.0) -> None:
    """Kill -9 when the process has told of ``step``, and some seconds later."""
    for line in process.stderr:
        if line.startswith(f"step {step}/"):
            time.sleep(delay)
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()


def results(output: Path):
    """The history and the weights, without what a clock decides.

    TRL counts ``num_tokens`` anew at every start; ``num_input_tokens_seen`` goes on.
    """
    kept = [
        {
            key: value
            for key, value in entry.items()
            if not key.endswith(("_second", "_runtime", "num_tokens"))
        }
        for entry in history(output)
        if "train_loss" not in entry
    ]
    return kept, weights(output)


@pytest.fixture(scope="module")
def whole(model_dir, tmp_path_factory):
    """What an uninterrupted packed run gives."""
    home = tmp_path_factory.mktemp("whole")
    run.main(["--config", str(write(home / "a.yaml", model_dir, home / "out", PACKED))])
    return results(home / "out")


def same(one, other) -> None:
    (history, arrays), (expected_history, expected) = one, other
    assert history == expected_history
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert (array == arrays[name]).all(), name


@pytest.mark.clock
@pytest.mark.processor
def test_killed_and_resumed_equals_uninterrupted(whole, model_dir, tmp_path) -> None:
    output = tmp_path / "out"
    config = write(tmp_path / "b.yaml", model_dir, output, PACKED)
    command = [sys.executable, "-c", KILLED, "3", "--config", str(config)]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=environment())
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (output / MODEL).exists()
    assert last_checkpoint(output) == output / "checkpoint-2"
    # As a kill while saving leaves it: without the file that is written last.
    (output / "checkpoint-5").mkdir()
    run.main(["--config", str(config)])
    same(results(output), whole)
    assert [entry["step"] for entry in whole[0] if "loss" in entry] == [1, 2, 3, 4, 5, 6]
    assert not (output / "checkpoint-5").exists()


@pytest.mark.soak
def test_killed_again_and_again(whole, model_dir, tmp_path) -> None:
    draw = random.Random(0)
    for attempt in range(4):
        output = tmp_path / f"out{attempt}"
        config = write(tmp_path / f"{attempt}.yaml", model_dir, output, PACKED)
        for step in sorted(draw.sample(range(1, 7), 3)):
            kill_at(start(config), step, draw.uniform(0, 0.2))
        if not (output / MODEL).exists():
            run.main(["--config", str(config)])
        same(results(output), whole)


@pytest.mark.soak
def test_two_processes_give_one_model_and_go_on_as_two(model_dir, tmp_path) -> None:
    found = {}
    for name, killed in (("whole", False), ("killed", True)):
        output = found[name] = tmp_path / name
        config = write(tmp_path / f"{name}.yaml", model_dir, output, PACKED)
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
        command += ["-m", "sft.run", "--config", str(config)]
        single = {**os.environ, "OMP_NUM_THREADS": "1"}
        if killed:
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=single)
            next(line for line in process.stderr if line.startswith("step 3/"))
            # They are sessions of their own, and outlive their launcher.
            workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            for pid in (process.pid, *map(int, workers.split())):
                os.kill(pid, signal.SIGKILL)
            process.communicate()
            assert last_checkpoint(output, 2) == output / "checkpoint-2"
            with pytest.raises(InputError, match="by another number of processes"):
                run.main(["--config", str(config)])
        subprocess.run(command, env=single, check=True)
    same(*(results(output) for output in found.values()))
    assert record(found["whole"]).processes == 2


def interrupt(config, step: int) -> None:
    """Run until ``step`` is done."""

    class Interrupt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            if state.global_step == step:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "DEFAULT_CALLBACKS", [*trainer.DEFAULT_CALLBACKS, Interrupt])
        with pytest.raises(KeyboardInterrupt):
            run.main(["--config", str(config)])


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(
    model_dir, tmp_path, monkeypatch
) -> None:
    output = tmp_path / "out"
    config = write(tmp_path / "a.yaml", model_dir, output)
    interrupt(config, 3)
    kept = output / "checkpoint-2"
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    weights, state = ((kept / name).stat() for name in ("model.safetensors", "optimizer.pt"))
    assert weights.st_size < 500_000 < state.st_size
    with room_for(300_000), pytest.raises(InputError) as told:
        run.main(["--config", str(config)])
    assert str(told.value).startswith(f"{output}: cannot be written (File too large: ")
    assert "a file may have at most 300.0 kB here" in str(told.value)
    for size in (300_000, 500_000):
        with room_for(size), monkeypatch.context() as patch:
            # As when the disk fills up meanwhile.
            patch.setattr(checkpoints, "check_room", lambda *a: None)
            with pytest.raises(InputError) as told:
                run.main(["--config", str(config)])
        assert str(told.value).startswith(f"{output / 'checkpoint-4'}: cannot be written (")
        assert str(told.value).endswith("it continues from the last checkpoint")
        assert "\n" not in str(told.value)
        assert not (output / "checkpoint-4").exists()
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before

    def save_on_a_full_disk(*arguments) -> None:
        with room_for(300_000):
            save(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("sft.finish.save", save_on_a_full_disk)
        with pytest.raises(InputError, match="out/model: cannot be written"):
            run.main(["--config", str(config)])
    assert not list(output.glob(f"{MODEL}*"))
    assert last_checkpoint(output) == output / "checkpoint-6"
    run.main(["--config", str(config)])
    assert [e["step"] for e in history(output) if "loss" in e] == [1, 2, 3, 4, 5, 6]


def checkpoint(output: Path, step: int, processes: int = 1) -> Path:
    folder = output / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text("{}")
    for rank in range(processes if processes > 1 else 0):
        (folder / f"rng_state_{rank}.pth").touch()
    return folder


def test_the_last_whole_checkpoint_counts(tmp_path) -> None:
    assert last_checkpoint(tmp_path) is None
    nine, ten, eleven = (checkpoint(tmp_path, step) for step in (9, 10, 11))
    (tmp_path / "checkpoint-mine").mkdir()
    (eleven / "trainer_state.json").write_text('{"half')
    assert last_checkpoint(tmp_path) == ten
    (ten / "trainer_state.json").unlink()
    assert last_checkpoint(tmp_path) == nine
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-9", "checkpoint-mine"]


def test_every_process_must_have_saved_its_random_state(tmp_path) -> None:
    one, two = checkpoint(tmp_path, 1, 2), checkpoint(tmp_path, 2, 2)
    assert last_checkpoint(tmp_path, 2) == two
    (two / "rng_state_1.pth").unlink()
    assert last_checkpoint(tmp_path, 2) == one


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("base", "began with other weights"),
        ("data", "was trained on other examples"),
        ("tokenizer", "was trained with another tokenizer or template"),
        ("accuracy", "was measured on other problems"),
        ("processes", "by another number of processes"),
        ("values", "has another configuration; remove it or set output_dir"),
    ],
)
def test_a_run_continues_only_as_it_began(tmp_path, key, words) -> None:
    inputs = dict(records.tuning_run(values={"a": 1}, accuracy=records.SHA))
    del inputs["kind"], inputs["version"]
    check_owner(tmp_path, inputs)
    claim(tmp_path, inputs)
    claim(tmp_path, inputs)
    check_owner(tmp_path, {"values": {"a": 1}})
    with pytest.raises(InputError, match=words):
        check_owner(tmp_path, {**inputs, key: "other"})


@pytest.mark.parametrize("kind", ["SFTTrainer", "DPOTrainer", "GRPOTrainer"])
def test_no_trainer_tells_its_makers_of_a_run(kind, monkeypatch) -> None:
    import trl
    from trl.trainer import base_trainer

    sent = []
    monkeypatch.setattr(base_trainer, "send_telemetry", lambda *a, **k: sent.append(a))
    theirs = getattr(trl, kind)
    ours = type("Trainer", (checkpoints.WholeCheckpoints, theirs), {})
    assert "_send_telemetry" in vars(base_trainer._BaseTrainer)
    ours._send_telemetry(object.__new__(ours))
    assert sent == []


def test_a_bug_is_no_failed_write(tmp_path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), checkpoints.writing(tmp_path / "c"):
        raise RuntimeError("shapes do not fit")


def test_room_for_the_model_and_the_kept_checkpoints_is_looked_for(tmp_path, monkeypatch) -> None:
    arguments = SimpleNamespace(optim="adamw_torch", save_strategy="steps", save_total_limit=2)
    model = torch.nn.Linear(1000, 100)  # 100,100 numbers of four bytes
    trainer = SimpleNamespace(
        args=arguments, model=model, is_fsdp_enabled=False, is_deepspeed_enabled=False
    )

    def check(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=free))
        checkpoints._check_room(trainer, tmp_path)

    size = 400_400  # the model, and each checkpoint with two moments
    for strategy, limit, optimiser, most in (
        ("steps", 2, "adamw_torch", 7 * size),
        ("steps", None, "adamw_torch_fused", 4 * size),
        ("steps", 1, "adafactor", 2 * size),
        ("no", 2, "adamw_torch", size),
    ):
        arguments.save_strategy, arguments.save_total_limit = strategy, limit
        arguments.optim = optimiser
        check(most)
        with pytest.raises(InputError, match=r"cannot be written \(No space left .* needed\)") as e:
            check(most - 1)
        assert str(e.value).endswith("set a lower save_total_limit") == (most == 7 * size)
    arguments.save_strategy, arguments.optim = "steps", "adamw_torch"
    (checkpoint(tmp_path, 2) / "optimizer.pt").write_bytes(bytes(1000))
    check(7 * size - 1002)
    model.weight.requires_grad_(False)
    check(size + 2 * 3 * 400)
    with room_for(300_000), pytest.raises(InputError, match=r"at most 300\.0 kB here"):
        check(10**9)
