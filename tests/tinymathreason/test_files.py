"""Nothing half-written is ever found under a final name."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.limits import room_for, unprivileged
from tinymathreason.cli import InputError
from tinymathreason.files import (
    locked,
    new_directory,
    new_file,
    read_json,
    whole,
    write_json,
    write_text,
)
from tinymathreason.writes import WriteError


def test_failed_write_keeps_the_old_content(tmp_path) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"


def test_directory_appears_only_when_complete(tmp_path) -> None:
    final = tmp_path / "out"

    def fail() -> None:
        with new_directory(final) as folder:
            (folder / "half").touch()
            assert not final.exists()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with new_directory(final) as folder:
        (folder / "whole").touch()
    assert [path.name for path in final.iterdir()] == ["whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "it is renamed, not copied"


def test_leftover_of_a_killed_attempt_is_removed(tmp_path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "stale").touch()
    with new_directory(tmp_path / "out") as folder:
        assert list(folder.iterdir()) == []


def test_existing_directory_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="already exists"), new_directory(tmp_path):
        pass


def test_a_replaced_directory_goes_only_when_the_new_one_is_whole(tmp_path) -> None:
    final, bystander = tmp_path / "out", tmp_path / "out.old"
    bystander.mkdir()
    for content in ("first", "second"):
        with new_directory(final, replace=True) as folder:
            (folder / content).touch()
        assert [path.name for path in final.iterdir()] == [content]
    with pytest.raises(RuntimeError), new_directory(final, replace=True):
        raise RuntimeError
    assert [path.name for path in final.iterdir()] == ["second"]
    # Killed between the two renames: the next start brings the older one back.
    final.rename(tmp_path / "out.partial.replaced")
    with pytest.raises(InputError, match="already exists"), new_directory(final):
        pass
    assert [path.name for path in final.iterdir()] == ["second"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.old"}


def test_what_is_no_folder_is_never_replaced(tmp_path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with (
            pytest.raises(InputError, match="is not a folder"),
            new_directory(tmp_path / name, replace=True),
        ):
            pass
    for name in ("/", "gs://bucket/out"):
        with pytest.raises(InputError, match="not the name of a local folder"), new_directory(name):
            pass
    with (
        pytest.raises(InputError, match="would remove the input"),
        new_directory(tmp_path, replace=True, inputs=[tmp_path / "file"]),
    ):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


def test_json_round_trip_and_errors(tmp_path) -> None:
    path = tmp_path / "a" / "value.json"
    write_json(path, {"b": [1, "\u00e9"]})
    assert read_json(path) == {"b": [1, "\u00e9"]}
    path.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(path)
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "none.json")


KILLED = """
import os, signal, sys
from tinymathreason.files import new_directory, new_file
with new_directory(sys.argv[2]) as folder, new_file(sys.argv[1]) as aside:
    (folder / "results.json").write_text("{}")
    aside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_glob_takes_what_a_killed_writer_left_and_the_next_one_removes_it(tmp_path) -> None:
    final, folder = tmp_path / "sft.json", tmp_path / "out"
    code = [sys.executable, "-c", KILLED, str(final), str(folder)]
    assert subprocess.run(code).returncode == -signal.SIGKILL
    assert {path.name for path in tmp_path.iterdir()} == {".sft.json.partial", "out.partial"}
    assert list(tmp_path.glob("*.json")) == []
    assert whole(tmp_path) == whole(tmp_path, "*/results.json") == []
    write_json(final, {})
    with new_directory(folder) as aside:
        (aside / "results.json").touch()
    assert whole(tmp_path) == [folder, final]
    assert whole(tmp_path, "*/results.json") == [folder / "results.json"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "sft.json"}


def test_what_older_versions_left_is_no_file_either(tmp_path) -> None:
    for name in ("sft.vm-1.partial.json", "README.vm-1.partial.md", "out.partial.replaced"):
        (tmp_path / name).touch()
    assert whole(tmp_path) == []
    # The folders above may be called what they like.
    inner = tmp_path / "a.partial" / "b.json"
    write_text(inner, "{}")
    assert whole(inner.parent) == [inner]


def test_two_writers_of_one_file_do_not_meet(tmp_path) -> None:
    final = tmp_path / "a.txt"
    with new_file(final) as one, new_file(final) as two, new_file(final) as three:
        assert len({one, two, three}) == 3
        for path, text in ((one, "1"), (two, "2"), (three, "3")):
            path.write_text(text)
    assert final.read_text() == "1", "the last to end"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_many_writers_leave_one_whole_file(tmp_path) -> None:
    final = tmp_path / "new" / "a.txt"

    def write(number: int) -> None:
        for _ in range(30):
            write_text(final, str(number) * 5000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    content = final.read_text()
    assert content == content[0] * 5000
    assert [path.name for path in final.parent.iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_neither_files_nor_folders(tmp_path) -> None:
    def fill(path: Path) -> None:
        with new_directory(path) as folder:
            (folder / "weights").write_bytes(bytes(20_000))

    (tmp_path / "mine").mkdir()
    for write in (lambda path: write_text(path, "x" * 20_000), fill):
        for parts in (("a", "b", "c"), ("mine", "c")):
            final = tmp_path.joinpath(*parts)
            with room_for(1000), pytest.raises(WriteError) as error:
                write(final)
            message = str(error.value)
            assert message.startswith(
                f"{final}: cannot be written (File too large: a file may have "
            )
            assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    with room_for(1000), pytest.raises(WriteError, match=r"20\.0 kB needed"):
        write_text(tmp_path / "c", "x" * 20_000)


def test_a_folder_that_was_held_for_nothing_goes_again(tmp_path) -> None:
    for made in (tmp_path / "a" / "b", tmp_path / "c"):
        with pytest.raises(RuntimeError), locked(made, "testing"):
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError), locked(tmp_path / "empty", "testing"):
        raise RuntimeError

    def begin() -> None:
        with locked(tmp_path / "begun", "testing"):
            (tmp_path / "begun" / "work").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        begin()
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "begun"}


@pytest.mark.parametrize("kind", ["locked", "below", "long", "folder"])
def test_where_nothing_can_be_written_is_one_line(tmp_path, kind: str) -> None:
    place, words = {
        "locked": (tmp_path / "locked" / "new", "locked is "),
        "below": (tmp_path / "file" / "new", "file is a file, not a folder"),
        "long": (tmp_path / ("x" * 300), "a name may have at most "),
        "folder": (tmp_path / "locked", "there is a folder of that name"),
    }[kind]
    (tmp_path / "locked").mkdir(mode=0o555)
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with unprivileged(), pytest.raises(WriteError, match=words) as error:
        write_text(place, "text")
    assert "cannot be written" in str(error.value)
    assert "\n" not in str(error.value)
    if kind != "folder":
        for hold in (new_directory(place), locked(place, "testing")):
            with unprivileged(), pytest.raises(WriteError, match=words), hold:
                pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_the_way_of_what_is_written_aside_is_not_followed(tmp_path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".a.partial").symlink_to(tmp_path / "precious")
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "precious").read_text() == "kept"
    assert (tmp_path / "a").read_text() == "new"


def test_a_new_file_has_the_permissions_that_the_user_wants(tmp_path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
