"""Requests that are answered in one step get what each would get alone."""

import itertools

import pytest

from release.serving.batch import Batch, tokens
from release.serving.decoding import GenerationRequest
from tests.release.test_engine import generated, load

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
PROMPTS = [[20, 21, 22], [30] * 40, [25, 26], [40, 41, 42, 43, 44, 45]]


@pytest.fixture(scope="module")
def parts(model_dir):
    return load(model_dir)


class Watched:
    """A model that notes the rows and the width of each step, and may fail."""

    def __init__(self, model, fails=lambda ids, options: False) -> None:
        self.model, self.fails = model, fails
        self.device = model.device
        self.steps: list[int] = []
        self.widths: list[int] = []

    def __call__(self, ids, **options):
        import torch

        cache = options.get("past_key_values")
        out = self.model(ids, **options)
        if cache is not None:
            self.steps.append(len(ids))
            self.widths.append(cache.get_seq_length())
            if self.fails(ids, options):
                raise torch.OutOfMemoryError("no memory left")
        return out


def take(source, count: int) -> list[int]:
    return list(itertools.islice(source, count))


def request(ids, **how) -> GenerationRequest:
    return GenerationRequest(ids, 100, **how)


@pytest.mark.processor
def test_rows_of_any_length_that_come_and_go_are_as_each_alone(parts) -> None:
    model = Watched(parts[0])
    batch = Batch(model)
    expected = [generated(parts, ids, 30) for ids in PROMPTS]
    rows = {}
    found: list[list[int]] = [[] for _ in PROMPTS]
    # When each one joins, and after how many tokens it leaves.
    joins, ends = [0, 2, 2, 9], [25, 6, 30, 12]
    for turn in range(40):
        for i, ids in enumerate(PROMPTS):
            if joins[i] == turn:
                rows[i] = tokens(batch, request(ids))
            if i in rows:
                found[i].append(next(rows[i]))
                if len(found[i]) == min(ends[i], len(expected[i])):
                    rows.pop(i).close()
    for i in range(len(PROMPTS)):
        assert found[i] == expected[i][: len(found[i])]
        assert len(found[i]) == min(ends[i], len(expected[i]))
    assert max(model.steps) >= 3
    assert len(model.steps) < sum(map(len, found)) / 1.5, "a step made one row's token"
    assert not batch._groups


def test_padding_that_only_a_gone_row_needed_is_dropped(parts) -> None:
    model = Watched(parts[0])
    batch = Batch(model)
    long, short = (tokens(batch, request(ids)) for ids in (PROMPTS[1], PROMPTS[2]))
    take(long, 2), take(short, 2)
    assert model.widths[-1] > 40
    long.close()
    take(short, 1)
    assert model.widths[-1] == len(PROMPTS[2]) + 2


@pytest.mark.processor
@pytest.mark.parametrize("room", [1, 2, 3])
def test_what_does_not_fit_the_memory_is_answered_in_parts(parts, room) -> None:
    ways = [{}, {"temperature": 1.0, "seed": 3}, {}, {"temperature": 0.5, "seed": 4}]
    asked = [request(ids, **how) for ids, how in zip(PROMPTS, ways, strict=True)]
    alone = [take(tokens(Batch(parts[0]), one), 12) for one in asked]
    model = Watched(parts[0], lambda ids, options: len(ids) > room)
    batch = Batch(model)
    rows = [tokens(batch, one) for one in asked]
    assert take_turns(rows, 12) == alone
    failed = [size for size in model.steps if size > room]
    assert 1 <= len(failed) <= 3
    assert max(size for size in model.steps if size <= room) == max(1, min(room, 2))


def take_turns(rows, count: int) -> list[list[int]]:
    """``count`` tokens of each row, one of each in turn."""
    turns = [[next(row) for row in rows] for _ in range(count)]
    return [list(column) for column in zip(*turns, strict=True)]


@pytest.mark.processor
def test_only_the_request_that_fails_alone_fails(parts) -> None:
    import torch

    alone = [take(tokens(Batch(parts[0]), request(ids)), 8) for ids in PROMPTS]
    bad = len(PROMPTS[1])
    model = Watched(parts[0], lambda ids, options: bool((options["position_ids"] == bad + 2).any()))
    batch = Batch(model)
    rows = [tokens(batch, request(ids)) for ids in PROMPTS]
    begun = take_turns(rows, 3)
    with pytest.raises(torch.OutOfMemoryError):
        next(rows.pop(1))
    del begun[1], alone[1]
    assert [a + b for a, b in zip(begun, take_turns(rows, 5), strict=True)] == alone
    assert len(batch._groups) < 3, "those that are left are together again"


def test_logits_that_are_not_finite_fail_their_own_row(parts) -> None:
    class Broken(Watched):
        def __call__(self, ids, **options):
            out = super().__call__(ids, **options)
            if len(ids) > 1:
                out.logits[0, -1, 7] = float("nan")
            return out

    batch = Batch(Broken(parts[0]))
    rows = [tokens(batch, request(ids)) for ids in PROMPTS[:2]]
    take_turns(rows, 1)
    with pytest.raises(RuntimeError, match="not finite"):
        next(rows[0])
    assert take(rows[1], 3) == take(tokens(Batch(parts[0]), request(PROMPTS[1])), 4)[1:]
