"""MaxText's events are read completely, once, while they are written, and across restarts."""

import struct

import fsspec
import numpy as np
import pytest

from pretrain.watch import history
from pretrain.watch.history import HELD_OUT, LOSS, NORM, RATE, WEIGHTS, History
from tests.support.event_files import step_scalars, write_checkpoint, write_events
from tinymathreason.cli import InputError


def opened(run) -> History:
    result = History(str(run))
    result.update()
    return result


def values(run: History, tag: str) -> dict[int, float]:
    series = run.series(tag)
    assert np.all(np.diff(series.steps) > 0)
    return dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def losses(steps, time: float = 0.0) -> list[tuple[int, str, float, float]]:
    return [(step, LOSS, step + time, time + step) for step in steps]


def ends_of(content: bytes) -> list[int]:
    """Where each record of an event file ends; 0 before the first."""
    ends = [0]
    while ends[-1] < len(content):
        ends.append(ends[-1] + 16 + struct.unpack_from("<Q", content, ends[-1])[0])
    return ends


def test_scalars_by_step(tmp_path) -> None:
    scalars = [s for k in range(3) for s in step_scalars(k, 50.0 + k, 3.0 - k, 90.0 + k)]
    write_events(tmp_path, 40, [*scalars, (2, HELD_OUT, 7.0, 53.0)])
    run = opened(tmp_path)
    assert values(run, LOSS) == {0: 3.0, 1: 2.0, 2: 1.0}
    assert values(run, WEIGHTS) == {0: 90.0, 1: 91.0, 2: 92.0}
    assert values(run, RATE) == dict.fromkeys(range(3), 0.5)
    assert values(run, NORM) == dict.fromkeys(range(3), 2.0)
    assert values(run, HELD_OUT) == {2: 7.0}
    assert run.series(LOSS).times.tolist() == [50.0, 51.0, 52.0]
    assert (run.starts, run.recorded, run.damaged) == ([40.0], 3, [])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_files_of_maxtexts_writer(tmp_path) -> None:
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(tmp_path / "tensorboard" / "run")) as writer:
        writer.add_text("steps", "3")
        for step in range(3):
            writer.add_scalar(LOSS, np.array(step / 3, np.float32), step)
    run = opened(tmp_path)
    assert values(run, LOSS) == {k: float(np.float32(k / 3)) for k in range(3)}
    assert len(run.starts) == 1


def test_a_file_cut_anywhere_is_read_to_its_last_whole_record(tmp_path) -> None:
    path = write_events(tmp_path, 5, losses(range(3)))
    content = path.read_bytes()
    ends = ends_of(content)
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        run = opened(tmp_path)
        whole = sum(end <= cut for end in ends[1:])
        assert len(values(run, LOSS)) == max(0, whole - 2)
        path.write_bytes(content)
        run.update()
        assert values(run, LOSS) == {0: 0.0, 1: 1.0, 2: 2.0}
        assert run.damaged == []


def test_only_what_is_new_is_read(tmp_path, monkeypatch) -> None:
    content = write_events(tmp_path, 5, losses(range(50))).read_bytes()
    path = write_events(tmp_path, 5, losses(range(40)))
    before = len(path.read_bytes())
    ranges = []
    system = type(fsspec.filesystem("file"))
    cat_file = system.cat_file

    def spy(self, path, start=None, end=None, **options):
        ranges.append((start, end))
        return cat_file(self, path, start=start, end=end, **options)

    monkeypatch.setattr(system, "cat_file", spy)
    run = opened(tmp_path)
    run.update()
    path.write_bytes(content)
    run.update()
    assert ranges == [(0, before), (before, len(content))]
    assert len(values(run, LOSS)) == 50


@pytest.mark.parametrize("chunk", [1, 16, 100])
def test_large_files_are_read_in_pieces(tmp_path, monkeypatch, chunk) -> None:
    monkeypatch.setattr(history, "CHUNK", chunk)
    write_events(tmp_path, 5, losses(range(20)))
    assert values(opened(tmp_path), LOSS) == {k: float(k) for k in range(20)}


def test_of_a_repeated_step_the_later_one_counts(tmp_path) -> None:
    write_events(tmp_path, 90, [*losses(range(6)), (2, HELD_OUT, 1.0, 3), (4, HELD_OUT, 2.0, 5)])
    run = opened(tmp_path)
    # The time in the file name decides, although this host's name sorts before the other's.
    write_events(tmp_path, 100, losses((3, 4), 100.0), "a")
    run.update()
    expected = {0: 0.0, 1: 1.0, 2: 2.0, 3: 103.0, 4: 104.0}
    assert values(run, LOSS) == expected
    # Step 5 and the evaluation at step 4 belong to the first start and do not count.
    assert values(run, HELD_OUT) == {2: 1.0}
    assert run.series(LOSS).files.tolist() == [0, 0, 0, 1, 1]
    assert (run.starts, run.recorded) == ([90.0, 100.0], 8)
    # A start that ends before its first step changes nothing.
    write_events(tmp_path, 110, [])
    run.update()
    assert values(run, LOSS) == expected
    assert len(run.starts) == 3


def test_a_start_that_goes_back_by_itself(tmp_path) -> None:
    write_events(tmp_path, 5, [*losses((0, 1, 2, 3)), *losses((2, 3), 50.0), *losses((3,), 90.0)])
    assert values(opened(tmp_path), LOSS) == {0: 0.0, 1: 1.0, 2: 52.0, 3: 93.0}


@pytest.mark.parametrize("damage", ["too long", "too short", "no length", "zeros", "record"])
def test_a_damaged_file_is_reported_and_the_others_are_read(tmp_path, damage) -> None:
    path = write_events(tmp_path, 5, losses(range(3)))
    broken = bytearray(path.read_bytes())
    at = ends_of(broken)[-3]
    if damage == "zeros":
        at = len(broken)
        broken += bytes(64)
    elif damage == "record":
        broken[broken.index(LOSS.encode(), at) - 1] = 0xFF
    else:
        broken[at] = {"too long": 0xFF, "too short": broken[at] - 9, "no length": 0}[damage]
    path.write_bytes(broken)
    write_events(tmp_path, 50, losses((4, 5)))
    run = opened(tmp_path)
    run.update()
    assert values(run, LOSS).keys() - {1, 2} == {0, 4, 5}
    assert (1 in values(run, LOSS)) == (2 in values(run, LOSS)) == (damage == "zeros")
    (damage_report,) = run.damaged
    # A length that is too short is noticed at the next record.
    at = at - 9 + 16 + broken[at] + 9 if damage == "too short" else at
    assert damage_report == f"{path} at byte {at}"


def test_a_bucket_is_read_as_a_folder_is(tmp_path) -> None:
    # The code path of gs://, without a network.
    remote = fsspec.filesystem("memory")
    local = write_events(tmp_path, 5, losses(range(4)))
    write_checkpoint(tmp_path, 3, 77.0)
    (tmp_path / "config.json").write_text('{"steps": 4}')
    try:
        remote.put(str(tmp_path), "/bucket/run", recursive=True)
        (at,) = remote.find("/bucket/run/tensorboard")
        content = local.read_bytes()
        remote.pipe_file(at, content[:-9])
        run = opened("memory://bucket/run/")
        assert values(run, LOSS) == {0: 0.0, 1: 1.0, 2: 2.0}
        remote.pipe_file(at, content)
        run.update()
        assert values(run, LOSS) == {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}
        assert run.json("config.json") == {"steps": 4}
        assert run.json("provenance.json") is None
        assert run.checkpoint() == (3, 77.0)
        with pytest.raises(InputError, match="memory://bucket/none: no such folder"):
            History("memory://bucket/none")
    finally:
        remote.rm("/bucket", recursive=True)


def test_a_half_written_checkpoint_is_none(tmp_path) -> None:
    run = History(str(tmp_path))
    assert run.checkpoint() is None
    write_checkpoint(tmp_path, 30, complete=False)
    (tmp_path / "checkpoints" / "40.orbax-checkpoint-tmp").mkdir()
    assert run.checkpoint() is None
    write_checkpoint(tmp_path, 9, 5.0)
    write_checkpoint(tmp_path, 10, 6.5)
    assert run.checkpoint() == (10, 6.5)


def test_what_cannot_be_read_is_one_line(tmp_path) -> None:
    with pytest.raises(InputError, match="none: no such folder"):
        History(str(tmp_path / "none"))
    with pytest.raises(InputError, match="nowhere://x: cannot be opened"):
        History("nowhere://x")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not valid JSON"):
        History(str(tmp_path)).json("config.json")
    assert values(opened(tmp_path), LOSS) == {}
