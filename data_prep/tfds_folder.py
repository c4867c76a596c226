"""Reads and describes folders of ArrayRecord files for TensorFlow Datasets, without TensorFlow.

Records are serialised tf.train.Example. `describe` writes the two small JSON files that
``tfds.builder_from_directory(folder).as_data_source()`` needs; `Texts` reads any prepared dataset.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinymathreason.cli import InputError
from tinymathreason.config import nearest

TEMPLATE = "{SPLIT}-{SHARD_X_OF_Y}.array_record"
"""TFDS's template of file names like ``train-00000-of-00004.array_record``."""


def describe(folder: Path, name: str, version: str = "1.0.0", column: str = "text") -> None:
    """Write ``dataset_info.json`` and ``features.json`` beside the ArrayRecord files of a folder.

    File names follow `TEMPLATE`, and each record is an Example with one feature, int64[any length].
    Raises `ValueError` when a split's files are incomplete.
    """
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordReader

    splits: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    counts: dict[str, set[int]] = defaultdict(set)
    for path in sorted(folder.glob("*.array_record")):
        match = re.fullmatch(r"(\w+)-(\d{5,})-of-(\d{5,})", path.stem)
        if match is None:
            raise ValueError(f"{path}: expected the name <split>-00000-of-00001.array_record")
        reader = ArrayRecordReader(str(path))
        splits[match[1]][int(match[2])] = (reader.num_records(), path.stat().st_size)
        counts[match[1]].add(int(match[3]))
        reader.close()
    for split, shards in splits.items():
        if counts[split] != {len(shards)} or sorted(shards) != list(range(len(shards))):
            raise ValueError(f"{folder}: split {split!r} has missing or additional files")

    features = tfds.features.FeaturesDict(
        {column: tfds.features.Tensor(shape=(None,), dtype=np.int64)}
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, template=TEMPLATE, dataset_name=name, filetype_suffix="array_record"
    )
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shards[i][0] for i in range(len(shards))],
            num_bytes=sum(size for _, size in shards.values()),
            filename_template=template.replace(split=split),
        )
        for split, shards in splits.items()
    ]
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=name, version=tfds.core.Version(version), data_dir=str(folder), module_name=""
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    info.set_file_format("array_record")
    info.set_splits(tfds.core.splits.SplitDict(infos))
    info.write_to_directory(folder)


class Texts:
    """The texts of one split of a prepared TFDS dataset, in the order of its files."""

    def __init__(self, folder: str | Path, split: str, columns: Sequence[str]) -> None:
        """Open the folder that holds ``dataset_info.json``.

        ``columns`` are text features (Text, or one string of bytes); the others are not decoded.
        Raises `InputError` when the folder is not a dataset in ArrayRecord files, or has no such
        split or text feature.
        """
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.decode import DeserializeMethod

        try:
            builder = tfds.builder_from_directory(folder)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: not a TFDS dataset: {error}") from error
        if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
            form = builder.info.file_format
            raise InputError(f"{folder}: the files are {form}, expected array_record")
        strings = [
            key
            for key, feature in builder.info.features.items()
            if isinstance(feature, tfds.features.Tensor)
            and (feature.shape, feature.np_dtype) == ((), np.dtype(object))
        ]
        for column in columns:
            if column not in strings:
                raise InputError(
                    f"{folder}: {column!r} is not a text feature; {nearest(column, strings)}"
                )
        if split not in builder.info.splits:
            raise InputError(f"{folder}: no split {split!r}; {nearest(split, builder.info.splits)}")
        self._columns = columns
        self._records = builder.as_data_source(
            split=split, deserialize_method=DeserializeMethod.RAW_BYTES
        )

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> dict[str, bytes | None]:
        from tensorflow_datasets.proto import tf_example_pb2

        example = tf_example_pb2.Example.FromString(self._records[number])
        texts = {}
        for column in self._columns:
            values = example.features.feature[column].bytes_list.value
            texts[column] = values[0] if values else None
        return texts
