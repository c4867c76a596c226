"""The curves of a run's history, as a picture."""

from pathlib import Path
from typing import Any

from tinymathreason.files import new_file


def draw(history: list[dict[str, Any]], path: Path) -> None:
    """Draw losses, accuracy with its 95 % interval and learning rate by optimiser step, as a PNG.

    ``history`` is the trainer's log. A value that was not measured has no curve.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (losses, accuracies, rates) = pyplot.subplots(
        1, 3, figsize=(14, 4), layout="constrained"
    )
    for key, label in (("loss", "training"), ("eval_loss", "held out")):
        losses.plot(*series(history, key), label=label, marker="." if key == "eval_loss" else "")
    losses.set(ylabel="loss (nats a target)")
    losses.legend()
    steps, values = series(history, "eval_accuracy")
    bounds = [series(history, f"eval_accuracy_{end}")[1] for end in ("low", "high")]
    accuracies.plot(steps, values, marker=".")
    accuracies.fill_between(steps, *bounds, alpha=0.2)
    accuracies.set(ylabel="accuracy, with its 95 % interval", ylim=(0, 1))
    rates.plot(*series(history, "learning_rate"))
    rates.set(ylabel="learning rate")
    for axes in (losses, accuracies, rates):
        axes.set(xlabel="step")
        axes.grid(alpha=0.3)
    with new_file(path) as aside:
        figure.savefig(aside, dpi=120, format="png")
    pyplot.close(figure)


def series(history: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """The steps at which ``key`` was logged, and its values there."""
    points = [(entry["step"], entry[key]) for entry in history if key in entry]
    return [step for step, _ in points], [value for _, value in points]
