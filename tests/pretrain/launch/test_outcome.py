"""How a training ended, from what its hosts report and the step reached."""

import dataclasses

import pytest

from pretrain.launch import outcome
from pretrain.launch.outcome import Host, Outcome
from tinymathreason.cli import InputError


def ended(*statuses: int | None, memory: bool = False) -> list[Host]:
    return [
        Host(
            name=f"vm-{i}",
            state="lost" if status is None else "ended",
            status=status,
            ended=100.0 - i,
            out_of_memory=memory and i == 1,
        )
        for i, status in enumerate(statuses)
    ]


@pytest.mark.parametrize(
    ("reports", "step", "expected"),
    [
        (ended(0, 0), 99, Outcome.FINISHED),
        (ended(0, 0), 98, Outcome.STOPPED),  # a status of 0 is not believed
        (ended(0, 1), 99, Outcome.FINISHED),  # nor one of 1, when everything is saved
        (ended(75, 0), 50, Outcome.STOPPED),
        (ended(75, 1), 50, Outcome.CRASHED),
        (ended(75, None), 50, Outcome.CRASHED),
        (ended(1, 2), 50, Outcome.REFUSED),
        (ended(2, 1, memory=True), 50, Outcome.OUT_OF_MEMORY),
        ([], 50, Outcome.PREEMPTED),
        ([], 99, Outcome.FINISHED),
    ],
)
def test_status_and_step_together_tell(reports, step: int, expected: Outcome) -> None:
    assert outcome.classify(reports, step, 99) is expected


def test_an_operators_stop_is_one_whatever_the_status() -> None:
    reports = [dataclasses.replace(host, stopped=True) for host in ended(143, 1)]
    assert outcome.classify(reports, 50, 99) is Outcome.STOPPED
    assert outcome.classify(reports, 99, 99) is Outcome.FINISHED


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        (ended(1, 1, 1), "vm-2"),  # the first to fail
        (ended(1, 1, 0), "vm-1"),  # ended earlier, but well
        (ended(1, None, 1), "vm-1"),
        (ended(2, None, 1), "vm-0"),
        (ended(2, 1, 1, memory=True), "vm-1"),
    ],
)
def test_the_cause_is_what_came_first(reports, expected: str) -> None:
    assert outcome.cause(reports).name == expected


def test_reports_are_read_among_other_lines() -> None:
    text = (
        "Using ssh batch size of 1\n"
        "@host\tvm-1\tended\t137\t12.5\tout_of_memory\tstopped\t42\tabc\ta.yml\tkey=two words\n"
        "@host\tvm-0\n"
    )
    assert outcome.hosts(text) == [
        Host(name="vm-0"),
        Host(
            name="vm-1",
            state="ended",
            status=137,
            ended=12.5,
            out_of_memory=True,
            stopped=True,
            log_size=42,
            commit="abc",
            arguments=("a.yml", "key=two words"),
        ),
    ]
    with pytest.raises(InputError, match="no host of the slice answered"):
        outcome.hosts("nothing\n")
