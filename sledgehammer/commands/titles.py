"""What the pictures call data and models: names, where users give paths."""

import json
from pathlib import Path
from typing import Any, Dict

from sledgehammer.dataset_readers.base import TransformerReader
from sledgehammer.dataset_readers.holdout import split_path
from sledgehammer.engine.manifest import is_engine
from sledgehammer.model.archives import Opened, read_member

DATASETS = {
    "SstReader": "SST",
    "AgNewsReader": "AG News",
    "ImdbReader": "IMDB",
    "SnliReader": "SNLI",
    "MultiNliReader": "MultiNLI",
}


def picture_title(path: str, opened: Opened, data: str, rows: int, json_lines: bool) -> str:
    """Name the dataset and the model in a line.

    # Parameters

    path : `str`
        Of the archive or of the exported model.
    opened : `Opened`
        The same, opened.
    data : `str`
        Where the rows came from.
    rows : `int`
        How many there were.
    json_lines : `bool`
        Whether the data were such lines rather than files of the reader's dataset.
    """
    dataset = dataset_name(opened.reader, data, json_lines)
    layers = ", ".join(map(str, opened.model.exit_layers))
    return f"{dataset} ({rows:,} rows): {model_name(path)}, exits at layers {layers}"


def dataset_name(reader: TransformerReader, data: str, json_lines: bool) -> str:
    """Name a dataset after its reader, and the part of it after its file."""
    file, part = split_path(data)
    stem = Path(file).name.split(".")[0]
    if part:
        stem = f"{stem} {part}"
    if json_lines:
        return stem
    kind = type(reader).__name__
    return f"{DATASETS.get(kind, kind.removesuffix('Reader'))} {stem}"


def model_name(path: str) -> str:
    """Name the transformer that was fine-tuned, as far as the archive tells."""
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
