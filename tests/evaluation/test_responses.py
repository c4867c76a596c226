"""Every batch is stored at once, and an interrupted evaluation continues to the same bytes."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.responses import Journal, check_lengths, respond
from tinymathreason.cli import InputError

LENGTHS = [3, 9, 1, 7, 7, 2]


class Draws:
    """A model whose responses depend on the batch and on torch's random numbers."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.asked: list[list[str]] = []
        self.breaks_at = breaks_at

    def generate_until(self, requests, disable_tqdm):
        import torch

        if len(self.asked) == self.breaks_at:
            raise KeyboardInterrupt
        self.asked.append([request.text for request in requests])
        together = "+".join(self.asked[-1])
        return [f"{r.text} of {together}: {torch.rand(()).item()}" for r in requests]


def requests():
    return [
        SimpleNamespace(text=f"{i}", request_type="generate_until") for i in range(len(LENGTHS))
    ]


def ask(model, journal=None, samples=2):
    return respond(model, requests(), LENGTHS, samples, lambda _: 5, 0, journal)


def test_requests_are_batched_by_length_and_come_back_in_order() -> None:
    model = Draws()
    result = ask(model, samples=1)
    assert model.asked == [["1", "3", "4", "0", "5"], ["2"]]
    assert [texts[0].split()[0] for texts in result] == ["0", "1", "2", "3", "4", "5"]


def test_samples_of_a_request_differ() -> None:
    assert all(len(set(texts)) == 2 for texts in ask(Draws()))


@pytest.mark.parametrize("breaks_at", [0, 1, 2])
def test_a_cut_evaluation_continues_to_the_same_responses(tmp_path, breaks_at) -> None:
    expected, path = ask(Draws()), tmp_path / "responses.jsonl"
    journal = Journal(path, "k")
    with pytest.raises(KeyboardInterrupt):
        ask(Draws(breaks_at), journal)
    journal.close()
    journal, second = Journal(path, "k"), Draws()
    assert ask(second, journal) == expected
    assert len(second.asked) == 3 - breaks_at
    journal.close()


SAID = (["a", "\u2028\n"], [[-1.5, True]], ["c"])


@given(cut=st.integers(0, 200))
def test_a_journal_cut_anywhere_keeps_its_whole_lines(tmp_path_factory, cut) -> None:
    path = tmp_path_factory.mktemp("journal") / "responses.jsonl"
    journal = Journal(path, "k")
    for said in SAID:
        journal.add(said)
    journal.close()
    whole = path.read_bytes()
    kept = whole[: max(0, len(whole) - cut)]
    path.write_bytes(kept)
    journal = Journal(path, "k")
    batches = max(0, kept.count(b"\n") - 1)
    assert journal.responses == [response for said in SAID[:batches] for response in said]
    for said in SAID[batches:]:
        journal.add(said)
    journal.close()
    assert path.read_bytes() == whole


def test_a_damaged_line_and_what_follows_are_asked_again(tmp_path) -> None:
    path = tmp_path / "responses.jsonl"
    for damage in (
        b'{"first"\n{"first": 1, "responses": []}\n',
        b'{"first": 2, "responses": []}\n',
    ):
        journal = Journal(path, "k")
        journal.responses or journal.add(["a"])
        journal.close()
        path.write_bytes(path.read_bytes() + damage)
        journal = Journal(path, "k")
        assert journal.responses == ["a"]
        journal.close()


def test_what_another_evaluation_left_is_not_used(tmp_path) -> None:
    path = tmp_path / "responses.jsonl"
    journal = Journal(path, "one")
    journal.add(["a"])
    journal.close()
    journal = Journal(path, "other")
    assert journal.responses == []
    journal.close()
    assert json.loads(path.read_text()) == {"key": "other"}


class Small(Draws):
    """A model whose memory holds two rows; its answers depend on the request alone."""

    def generate_until(self, requests, disable_tqdm):
        import torch

        if len(requests) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        super().generate_until(requests, disable_tqdm)
        return [request.text * 2 for request in requests]


@pytest.mark.parametrize("breaks_at", [None, 0, 1, 2, 5])
def test_a_batch_that_does_not_fit_the_memory_is_halved(tmp_path, breaks_at) -> None:
    path, expected = tmp_path / "responses.jsonl", [[f"{i}" * 2] * 2 for i in range(len(LENGTHS))]
    model, journal = Small(breaks_at), Journal(path, "k")
    if breaks_at is not None:
        with pytest.raises(KeyboardInterrupt):
            ask(model, journal)
        journal.close()
        model, journal = Small(), Journal(path, "k")
        assert len(journal.responses) == 2 * breaks_at
    assert ask(model, journal) == expected
    assert [len(batch) for batch in model.asked] == [2] * (6 - (breaks_at or 0))
    journal.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert [line["first"] for line in lines] == list(range(0, 12, 2))


def test_a_prompt_that_never_fits_ends_in_one_line(monkeypatch) -> None:
    import torch

    def none(self, requests, disable_tqdm):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Draws, "generate_until", none)
    with pytest.raises(InputError, match="does not suffice for one prompt of 9 tokens"):
        ask(Draws())


def test_shorter_requests_are_answered_in_larger_batches() -> None:
    model = Draws()
    respond(model, requests(), LENGTHS, 1, lambda length: 2 if length > 3 else 4, 0, None)
    assert model.asked == [["1", "3"], ["4", "0"], ["5", "2"]]


def test_shots_that_do_not_fit_are_refused_and_long_problems_counted() -> None:
    assert check_lengths(LENGTHS, 7, 0, 3, 10) == 1
    assert check_lengths(LENGTHS, 9, 8, 1, 10) == 0
    with pytest.raises(InputError, match="1 of 6 prompts with 8 shots do not fit"):
        check_lengths(LENGTHS, 7, 8, 3, 10)
