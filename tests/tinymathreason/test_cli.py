"""Bad input gives one line and an exit status; bugs keep their traceback."""

import pytest

from tinymathreason import cli


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (cli.InputError("a.yaml:\n  key 'b' is wrong"), 2, "error: a.yaml: key 'b' is wrong\n"),
        (OSError(2, "No such file", "a.txt"), 2, "error: a.txt: No such file\n"),
        (OSError("the hub's own"), 2, "error: the hub's own\n"),
        (KeyboardInterrupt(), 130, "interrupted: run the same command again\n"),
    ],
)
def test_one_line_and_status(capsys, error: BaseException, status: int, line: str) -> None:
    def main(argv) -> None:
        raise error

    with pytest.raises(SystemExit) as exit_:
        cli.run(main, [])
    assert exit_.value.code == status
    assert capsys.readouterr().err == line


def test_a_bug_keeps_its_traceback() -> None:
    def main(argv) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        cli.run(main, [])
