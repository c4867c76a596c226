"""Nothing half-written is ever found under a final name."""

import pytest

from tinymathreason.cli import InputError
from tinymathreason.files import new_directory, read_json, write_json, write_text


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
            pytest.raises(InputError, match="is no folder"),
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
