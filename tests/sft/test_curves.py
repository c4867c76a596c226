"""The curves are those of the trainer's log."""

import matplotlib.image
import pytest

from sft import curves

HISTORY = [
    {"step": 1, "loss": 5.0, "learning_rate": 1e-3},
    {"step": 2, "eval_accuracy": 0.2, "eval_accuracy_low": 0.1, "eval_accuracy_high": 0.4},
    {"step": 2, "loss": 4.0, "learning_rate": 5e-4},
    {"step": 2, "eval_loss": 4.5},
    {"step": 2, "train_loss": 4.5},
]


def test_a_series_is_one_keys() -> None:
    assert curves.series(HISTORY, "loss") == ([1, 2], [5.0, 4.0])
    assert curves.series(HISTORY, "eval_loss") == ([2], [4.5])
    assert curves.series(HISTORY, "none") == ([], [])


@pytest.mark.parametrize("history", [HISTORY, HISTORY[:1], []])
def test_a_picture_is_drawn_of_what_there_is(tmp_path, history) -> None:
    curves.draw(history, tmp_path / "c.png")
    height, width, _ = matplotlib.image.imread(tmp_path / "c.png").shape
    assert (height, width) == (480, 1680)
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]
