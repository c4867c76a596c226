"""What a training added is counted on the same problems, and too little of it fails."""

import pytest

from release.gains import main
from tests.support import records
from tests.support.padding import squeezed
from tinymathreason.cli import InputError


@pytest.fixture
def run(tmp_path):
    for name, value in (("half", 0.5), ("a", 0.65), ("b", 0.649)):
        figures = {"value": value, "low": value - 0.03, "high": value + 0.03, "n": 1000}
        results = records.results(request=records.request(limit=1000), **figures)
        results.write(tmp_path / f"evaluation/{name}/results.json")
        records.stage(seconds=123.4).write(tmp_path / f"stages/{name}.json")
    return tmp_path


def gains(run, *after: str) -> None:
    main(["--run", str(run), "--before", "half", "--after", *after])


def test_a_gain_that_is_large_enough_is_shown(run, capsys) -> None:
    gains(run, "a=30", "b=29.8")
    shown = capsys.readouterr().out
    row = "| a | 50.0% (47.0% to 53.0%) | 65.0% (62.0% to 68.0%) | +15.0 | 30 % | 123 |"
    assert row in squeezed(shown).splitlines()
    assert row in squeezed((run / "gains.md").read_text())


def test_a_gain_that_is_too_small_is_reported_after_the_table(run, capsys) -> None:
    with pytest.raises(InputError, match=r"b mended 29\.8 % of the errors, .* at least 30$"):
        gains(run, "a=30", "b=30")
    assert "| b | 50.0%" in squeezed(capsys.readouterr().out)


def test_other_problems_are_refused(run) -> None:
    path = run / "evaluation/b/results.json"
    path.write_text(path.read_text().replace('"limit": 1000', '"limit": 400'))
    with pytest.raises(InputError, match="half and b were not evaluated on the same problems"):
        gains(run, "b=1")


def test_where_nothing_is_wrong_there_is_nothing_to_gain(run) -> None:
    path = run / "evaluation/half/results.json"
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 1.0'))
    with pytest.raises(InputError, match="half makes no error; there is nothing to gain"):
        gains(run, "a=1")


def test_a_missing_evaluation_is_named(run) -> None:
    with pytest.raises(InputError, match=r"none/results\.json: no such file"):
        gains(run, "none=1")


def test_a_bar_that_is_no_number_is_refused(run) -> None:
    with pytest.raises(SystemExit):
        gains(run, "a")
