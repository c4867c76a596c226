"""An error of the file system is reported with its file, the reason and a remedy."""

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.numpy
import tokenizers
import torch
from array_record.python.array_record_module import ArrayRecordWriter

from tests.support.limits import room_for, unprivileged
from tinymathreason import disk
from tinymathreason.cli import InputError
from tinymathreason.writes import WriteError, check_room, failed_write, writing


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, ["B free in {folder}, 1.5 kB needed", "make room there"]),
        (errno.EDQUOT, ["the quota of ", "is exhausted, 1.5 kB needed", "remove files of yours"]),
        (errno.EFBIG, ["the file system of {folder} takes no file of that size"]),
        (errno.EROFS, ["{folder} is mounted read-only", "write elsewhere"]),
        (errno.EACCES, ["{folder} is ", "'s, drwx", ", you are ", "have its permissions changed"]),
        (errno.EPERM, ["{folder} is ", "'s, drwx", ", you are ", "have its permissions changed"]),
        (errno.ENAMETOOLONG, ["a name may have at most ", "choose a shorter one"]),
        (errno.ENOTDIR, ["is a file, not a folder", "move it away or write elsewhere"]),
        (errno.EISDIR, ["there is a folder of that name"]),
        (errno.EIO, ["the device of {folder} fails"]),
        (errno.EMFILE, ["files may be open, by ulimit -n", "raise the limit"]),
    ],
)
def test_every_error_says_why_and_what_to_do(tmp_path, number: int, words: list[str]) -> None:
    error = OSError(number, os.strerror(number))
    message = disk.explain(error, tmp_path / "a" / "b", 1500)
    assert message.startswith(f"{tmp_path / 'a' / 'b'}: cannot be written ({os.strerror(number)}: ")
    for word in words:
        assert word.format(folder=tmp_path) in message
    # The file that the error itself names comes first, unless it is where that one is written.
    named = OSError(number, os.strerror(number), str(tmp_path / "other"))
    assert disk.explain(named, tmp_path / "a").startswith(f"{tmp_path / 'other'}: ")
    aside = OSError(number, os.strerror(number), str(tmp_path / ".a.json.partial"))
    assert disk.explain(aside, tmp_path / "a.json").startswith(f"{tmp_path / 'a.json'}: ")


def test_a_limit_on_files_is_reported(tmp_path) -> None:
    with room_for(2000):
        message = disk.explain(OSError(errno.EFBIG, "File too large"), tmp_path / "x", 5000)
    assert "a file may have at most 2.0 kB here, by ulimit -f, 5.0 kB needed" in message
    assert message.endswith("raise the limit: ulimit -f unlimited")


def test_what_is_only_read_is_not_said_to_be_written(tmp_path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0)
    with unprivileged(), pytest.raises(PermissionError) as error:
        path.read_text()
    with unprivileged():
        assert disk.explain(error.value).startswith(f"{path}: cannot be used (Permission denied: ")


def test_the_librarys_own_errors_are_known(tmp_path) -> None:
    def records(path: Path) -> None:
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for _ in range(20):
            writer.write(os.urandom(1000))
        writer.close()

    zeros = np.random.default_rng(0).random(1000)
    writers = {
        "safetensors": lambda path: safetensors.numpy.save_file({"a": zeros}, path),
        "torch": lambda path: torch.save(torch.from_numpy(zeros), path),
        "numpy": lambda path: np.save(path, zeros),
        "arrow": lambda path: pyarrow.parquet.write_table(pyarrow.table({"a": zeros}), path),
        "tokenizers": lambda path: tokenizers.Tokenizer(
            tokenizers.models.WordLevel({f"word {i}": i for i in range(1000)}, "word 0")
        ).save(str(path)),
        "array_record": records,
        "python": lambda path: path.write_bytes(bytes(5000)),
    }
    for name, write in writers.items():
        with room_for(1000), pytest.raises(WriteError) as error, writing(tmp_path / name):
            write(tmp_path / name)
        message = str(error.value)
        assert message.startswith(f"{tmp_path / name}: cannot be written ("), name
        assert "a file may have at most 1.0 kB here" in message, name
        assert "\n" not in message, name


def test_what_is_no_failed_write_stays_what_it_is(tmp_path) -> None:
    for error in (
        RuntimeError("shapes do not fit"),
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        OSError("a library's own"),
        InputError("No space left on device"),
    ):
        assert failed_write(error, tmp_path) is None
        with pytest.raises(type(error)) as raised, writing(tmp_path):
            raise error
        assert raised.value is error


def test_room_is_looked_for_before_the_work(tmp_path, monkeypatch) -> None:
    check_room(tmp_path / "a" / "b", needed=1000, largest=1000)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(
        WriteError, match=r"a: cannot be written .* EB needed\); make room"
    ) as error:
        check_room(tmp_path / "a", needed=10**18, remedy="take less")
    assert str(error.value).endswith("write elsewhere, or take less")
    with room_for(5000), pytest.raises(WriteError, match=r"at most 5\.0 kB .* 6\.0 kB needed"):
        check_room(tmp_path, largest=6000)
    with room_for(100), pytest.raises(WriteError, match="File too large"):
        check_room(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="file is a file, not a folder"):
        check_room(tmp_path / "file" / "below")
    with pytest.raises(WriteError, match="a name may have at most"):
        check_room(tmp_path / ("x" * 300))
    (tmp_path / "locked").mkdir(mode=0o555)
    with unprivileged(), pytest.raises(WriteError, match=r"locked is .*, you are "):
        check_room(tmp_path / "locked" / "new")
