"""Name data and models in the titles of pictures: users give paths, readers want names."""

import json
from pathlib import Path
from typing import Any, Dict

from sledgehammer.dataset_readers.base import TransformerReader
from sledgehammer.dataset_readers.holdout import split_path
from sledgehammer.dataset_readers.tables import TableReader
from sledgehammer.engine.manifest import is_engine
from sledgehammer.model.archive_files import read_member
from sledgehammer.model.archives import Opened

DATASETS = {
    "SstReader": "SST",
    "AgNewsReader": "AG News",
    "ImdbReader": "IMDB",
    "SnliReader": "SNLI",
    "MultiNliReader": "MultiNLI",
}


def picture_title(path: str, opened: Opened, data: str, rows: int, other_format: bool) -> str:
    """Return a title of one line that names the dataset and the model.

    # Parameters

    path : `str`
        The archive or the exported model.
    opened : `Opened`
        The same model, opened.
    data : `str`
        Where the rows come from.
    rows : `int`
        How many rows there are.
    other_format : `bool`
        Whether the data are in another format than files of the reader's dataset.
    """
    dataset = dataset_name(opened.reader, data, other_format)
    layers = ", ".join(map(str, opened.model.exit_layers))
    return f"{dataset} ({rows:,} rows): {model_name(path)}, exits at layers {layers}"


def dataset_name(reader: TransformerReader, data: str, other_format: bool) -> str:
    """Return a dataset's name, after its reader, and that of the part, after its file."""
    file, part = split_path(data)
    stem = Path(file).name.split(".")[0]
    if part:
        stem = f"{stem} {part}"
    if other_format or isinstance(reader, TableReader):
        return stem
    kind = type(reader).__name__
    return f"{DATASETS.get(kind, kind.removesuffix('Reader'))} {stem}"


def model_name(path: str) -> str:
    """Return the name of the fine-tuned transformer, or "transformer" if the config has none."""
    config: Dict[str, Any] = json.loads(
        Path(path, "config.json").read_text(encoding="utf-8")
        if is_engine(path)
        else read_member(path, "config.json")
    )
    source = config["model"].get("model_name") or config["dataset_reader"].get("model_name") or ""
    if source.startswith("package:"):
        return source.removeprefix("package:").split("/")[0]
    is_folder = source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).is_dir()
    return (Path(source).name if is_folder else source) or "transformer"
