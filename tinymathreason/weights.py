"""The files that a model's weights are loaded from.

They are the files that transformers loads with ``use_safetensors=True``, as this project always
does: a pickle can run code when it is loaded, and is in none of our hashes.
"""

from pathlib import Path

from tinymathreason.cli import InputError
from tinymathreason.files import read_json

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.bin.index.json", "*.pt", "*.pth")


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder's weights: a single one, or the index and its shards.

    Raises `InputError` for a folder that has no weights, only pickled ones, a missing shard, an
    adapter, which would be loaded on top of another model, or a malformed configuration or index.
    """
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{folder}: holds an adapter (adapter_config.json), which is loaded on top of another "
            "model; merge both into a folder of their own, by peft's merge_and_unload"
        )
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or "transformers_weights" in config:
        raise InputError(
            f"{folder / 'config.json'}: must be an object without transformers_weights; "
            f"the weights are in {FILE}, or where {INDEX} says"
        )
    single = folder / FILE
    if (folder / INDEX).is_file():
        shards = _shards(folder)
        # transformers looks for the single file first.
        if not single.is_file():
            return [folder / INDEX, *shards]
        if shards != [single]:
            raise InputError(
                f"{folder}: {FILE} and an index of other files there; remove one of them"
            )
    elif not single.is_file():
        raise InputError(_lacking(folder))
    return [single]


def _shards(folder: Path) -> list[Path]:
    index = read_json(folder / INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(
        isinstance(file, str) and Path(file).name == file and file.endswith(".safetensors")
        for file in places.values()
    ):
        raise InputError(f"{folder / INDEX}: no weight_map in it that names files")
    shards = [folder / name for name in sorted(set(places.values()))]
    for shard in shards:
        if not shard.is_file():
            raise InputError(f"{folder}: no {shard.name} there, but {INDEX} names it")
    return shards


def _lacking(folder: Path) -> str:
    """The message for a folder without weights, with a way to convert a pickle."""
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if not pickles:
        return f"{folder}: no {FILE} there"
    convert = (
        "from transformers import AutoModelForCausalLM as M; "
        f"M.from_pretrained({str(folder)!r}).save_pretrained('NEW')"
    )
    return (
        f"{folder}: no {FILE} there, and {pickles[0]} is a pickle, which can run code when it is "
        f'read; if you trust it, convert it (python -c "{convert}") and copy the tokenizer\'s files'
    )
