"""MaxText's Grain pipeline reads every token of a mixture once, and each source with its share."""

import collections
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource

from data_prep import tokenizer
from data_prep.build import build
from data_prep.recipe import Recipe
from data_prep.stages.records import decode, encode, writer
from pretrain import mixture as checks
from pretrain import overlay
from tests.support.builds import documents as written
from tests.support.builds import write_jsonl, write_recipe
from tests.support.checkpoints import sample
from tests.support.names import NAMES
from tinymathreason.chatml import EOS, PAD, SPECIAL_TOKENS
from tinymathreason.config import load

pytestmark = [pytest.mark.xdist_group("maxtext"), pytest.mark.filterwarnings("ignore")]

OVERLAY = "maxtext_configs/quickstart.yml"
LENGTH, BATCH, HOSTS = 64, 16, 4
END, NOTHING = SPECIAL_TOKENS.index(EOS), SPECIAL_TOKENS.index(PAD)
# The first ids of the sources, a thousand apart: a token tells its source.
FIRST = {"long": 1000, "short": 2000}
SHARE = {"long": 0.7, "short": 0.3}


def write_mixture(folder, lengths, weights):
    """Documents of random tokens and these lengths, EOS included, and their ``mixture.json``."""
    rng = np.random.default_rng(0)
    for name, counts in lengths.items():
        (folder / name).mkdir(parents=True)
        paths = [folder / name / f"train-{i:05}-of-00002.array_record" for i in range(2)]
        shards = [writer(path) for path in paths]
        for number, count in enumerate(counts):
            body = rng.integers(FIRST[name], FIRST[name] + 1000, count - 1)
            shards[number % 2].write(encode([*body.tolist(), END]))
        for shard in shards:
            shard.close()
    draws = {
        name: {"path": f"{folder / name}/train-*", "weight": weights[name]} for name in lengths
    }
    path = folder / "mixture.json"
    path.write_text(json.dumps(draws))
    return path


def stored(folder):
    """Every document in the ArrayRecord files, as a multiset of tuples."""
    files = sorted(map(str, folder.glob("*/train-*")))
    return collections.Counter(tuple(decode(record)) for record in ArrayRecordDataSource(files))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens") / "tokenizer"
    tokenizer.save(tokenizer.train(sample(), 320), folder)
    return folder


@pytest.fixture(scope="module")
def read(tokens):
    """Batches as MaxText's trainer reads them, for one of several hosts."""
    from maxtext.configs import pyconfig
    from maxtext.input_pipeline import grain_data_processing as upstream

    def batches(mixture, host=0, hosts=1, **overrides):
        config = pyconfig.initialize(
            ["", "maxtext_configs/quickstart.yml"],
            base_output_directory="/nowhere",
            log_config=False,
            max_target_length=LENGTH,
            per_device_batch_size=BATCH,
            tokenizer_path=str(tokens),
            grain_train_mixture_config_path=str(mixture),
            **overrides,
        )
        assert config.grain_packing_type == "concat_then_split"
        # A host's index is the place of this process, 0, among the processes that load data.
        # Left out is the wrapper that puts batches on devices: when it is closed, it ends
        # orphaned processes of any program.
        processes = [*range(1, host + 1), 0, *range(host + 1, hosts)]
        with mock.patch.object(
            upstream.multihost_dataloading,
            "MultiHostDataLoadIterator",
            lambda dataset, *_, **__: dataset,
        ):
            return iter(
                upstream.make_grain_train_iterator(config, SimpleNamespace(size=1), processes)
            )

    return batches


def test_a_mixture_in_a_folder_of_any_name_is_read(tmp_path, monkeypatch) -> None:
    from maxtext.configs import pyconfig
    from maxtext.input_pipeline import grain_data_processing as upstream

    path = str(Path(OVERLAY).absolute())
    # MaxText has no way to write a semicolon.
    home = tmp_path.joinpath(*(name for name in NAMES if ";" not in name))
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    write_jsonl(Path("~.jsonl"), written(0, 200))
    sources = {"a": {"format": "jsonl", "path": "~.jsonl", "weight": 1}}
    build(load(Recipe, write_recipe(home, sources), ["executor.workers=1", "output_dir=~/o[1]/m"]))
    mixtures = [Path("~/o[1]/m"), home / "~/o[1]/m", tmp_path / "link"]
    mixtures[-1].symlink_to(mixtures[1])
    for mixture in mixtures:
        places = {
            checks.MIXTURE: f"{mixture}/mixture.json",
            "grain_eval_files": f"{mixture}/*/eval-*.array_record",
            "tokenizer_path": f"{mixture}/tokenizer",
            "base_output_directory": str(home),
        }
        words = [checks.argument(key, value) for key, value in places.items()]
        config = overlay.load(path, words)
        assert {key: config[key] for key in places} == places
        checks.check(config)
        words += checks.arguments(config, tmp_path)
        found = pyconfig.initialize(["", path, *words], log_config=False)
        for key in ("tokenizer_path", "base_output_directory"):
            assert str(getattr(found, key)).rstrip("/") == places[key]
        wanted = sorted(str(x) for x in (home / "~/o[1]/m/a").glob("train-*"))
        drawn = json.loads(Path(getattr(found, checks.MIXTURE)).read_text())
        assert sorted(upstream.find_data_files(drawn["a"]["path"])) == wanted
        wanted = sorted(str(x) for x in (home / "~/o[1]/m/a").glob("eval-*"))
        assert sorted(upstream.find_data_files(found.grain_eval_files)) == wanted


def rows(batches):
    """The rows of all batches, each a dictionary of int[LENGTH]."""
    found = list(batches)
    return {key: np.concatenate([batch[key] for batch in found]) for key in found[0]}


def documents(found):
    """The documents in rows, as a multiset of tuples."""
    tokens = found["inputs"][found["inputs_segmentation"] > 0]
    ends = np.flatnonzero(tokens == END) + 1
    assert len(tokens) == ends[-1], "the last document has no end"
    return collections.Counter(tuple(document) for document in np.split(tokens, ends[:-1]))


@pytest.fixture(scope="module")
def epoch(tmp_path_factory):
    """A mixture whose sources end together, as their weights are their numbers of records."""
    folder = tmp_path_factory.mktemp("epoch")
    rng = np.random.default_rng(1)
    lengths = {"long": rng.integers(5, 400, 80), "short": rng.integers(5, 20, 320)}
    mixture = write_mixture(folder, lengths, {name: len(found) for name, found in lengths.items()})
    assert set(stored(folder).values()) == {1}, "documents must be distinct"
    return mixture


def test_segments_and_positions_start_anew_at_each_document_and_row(read, epoch) -> None:
    found = rows(read(epoch, num_epoch=1))
    inputs = found["inputs"]
    ends = inputs == END
    before = np.cumsum(ends, axis=1) - ends  # documents that end in the row before this token
    columns = np.arange(LENGTH)
    starts = np.where(np.roll(ends, 1, axis=1) | (columns == 0), columns, 0)
    real = inputs != NOTHING
    np.testing.assert_array_equal(found["inputs_segmentation"], np.where(real, before + 1, 0))
    np.testing.assert_array_equal(
        found["inputs_position"],
        np.where(real, columns - np.maximum.accumulate(starts, axis=1), 0),
    )
    # Padding stands behind the last document alone: in its row, and as rows that fill its batch.
    tokens = real.sum()
    assert real.ravel()[:tokens].all()
    assert len(inputs) == -(-tokens // (LENGTH * BATCH)) * BATCH

    # A target is the next token of the row; the last one of a row has none.
    for key in ("", "_segmentation"):
        shifted = np.pad(found["inputs" + key][:, 1:], ((0, 0), (0, 1)))
        np.testing.assert_array_equal(found["targets" + key], shifted)
    np.testing.assert_array_equal(found["targets_position"], found["inputs_position"])


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_epoch_is_every_token_once(read, epoch, epochs: int) -> None:
    found = documents(rows(read(epoch, num_epoch=epochs)))
    assert found == dict.fromkeys(stored(epoch.parent), epochs)


def test_hosts_read_disjoint_documents_that_together_are_those_of_one_host(read, epoch) -> None:
    # Documents, not rows: each host packs the ones that it has drawn.
    hosts = [documents(rows(read(epoch, host, HOSTS, num_epoch=1))) for host in range(HOSTS)]
    for one, other in itertools.combinations(hosts, 2):
        assert not one & other
    assert {found.total() for found in hosts} == {stored(epoch.parent).total() / HOSTS}
    assert sum(hosts, collections.Counter()) == documents(rows(read(epoch, num_epoch=1)))


def test_sources_have_their_shares_of_tokens(read, tmp_path) -> None:
    rng = np.random.default_rng(2)
    lengths = {"long": rng.integers(100, 700, 1_400), "short": rng.integers(2, 40, 12_000)}
    weights = {name: SHARE[name] * len(found) / sum(found) for name, found in lengths.items()}
    mixture = write_mixture(tmp_path, lengths, weights)
    batches = read(mixture, num_epoch=1)
    inputs = rows(itertools.islice(batches, 10_000 // BATCH))["inputs"]
    assert inputs.shape == (10_000, LENGTH)
    assert (inputs != NOTHING).all()
    # An end token belongs to the source of the token before it.
    tokens = inputs.ravel()
    tokens = np.where(tokens == END, np.roll(tokens, 1), tokens)
    for name, first in FIRST.items():
        share = ((tokens >= first) & (tokens < first + 1000)).mean()
        assert share == pytest.approx(SHARE[name], rel=0.01)


@pytest.mark.parametrize("epochs", [1, 3])
def test_reading_ends_when_the_first_source_has_been_read_num_epoch_times(
    read, tmp_path, epochs: int
) -> None:
    lengths = {"long": [50] * 40, "short": [10] * 1_000}
    mixture = write_mixture(tmp_path, lengths, {"long": 1, "short": 1})
    found = documents(rows(read(mixture, num_epoch=epochs)))
    reads = {
        name: [count for document, count in found.items() if len(document) == length[0]]
        for name, length in lengths.items()
    }
    assert reads["long"] == [epochs] * 40
    # Some documents of the other source are never read.
    assert reads["short"] == [1] * (40 * epochs)
