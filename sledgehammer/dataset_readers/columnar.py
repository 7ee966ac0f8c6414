"""Read tables that other libraries hold: Parquet files, and datasets of Hugging Face."""

import importlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers.files import Location, bad_row, local_path

Records = Iterator[Tuple[Location, Dict[str, Any]]]

OLDEST_DATASETS = (2, 20)
"""Older versions of `datasets` run code that a dataset on the hub brings, without asking."""


def parquet_rows(path: str, wanted: Sequence[str]) -> Records:
    """Yield the rows of a Parquet file, each as a dictionary of the wanted columns that it has.

    # Raises

    `ConfigurationError` if pyarrow is not installed, or the file is not Parquet or is damaged.
    """
    parquet = _imported("pyarrow.parquet", "pyarrow", "Parquet files")
    arrow = _imported("pyarrow", "pyarrow", "Parquet files")
    file = local_path(path)
    if not file.is_file():
        raise ConfigurationError(f"{path!r} is a folder; a file is needed")
    number = 0
    try:
        with parquet.ParquetFile(file) as table:
            columns = [name for name in table.schema_arrow.names if name in wanted]
            for batch in table.iter_batches(batch_size=1024, columns=columns):
                for values in batch.to_pylist():
                    number += 1
                    yield Location(path, number, "row"), values
    except (arrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise bad_row(Location(path, number + 1, "row"), f"not Parquet: {reason}") from error


def hub_rows(path: str, wanted: Sequence[str], config: Optional[str] = None) -> Records:
    """Yield the rows of a dataset of the library `datasets`, with class labels as their names.

    # Parameters

    path : `str`
        A folder that `save_to_disk` wrote, or the name of a dataset on the hub; `PATH!SPLIT` for
        one of its splits.
    config : `str`, optional
        Which configuration of a dataset on the hub, such as `sst2` of `glue`.

    # Raises

    `ConfigurationError` if the library is missing or too old, or there is no such dataset or split.
    """
    library = _imported("datasets", "datasets", "datasets of Hugging Face")
    dataset = _loaded(library, path, config)
    dataset = dataset.select_columns([n for n in dataset.column_names if n in wanted])
    names = {name: getattr(f, "names", None) for name, f in dataset.features.items()}
    for number, values in enumerate(dataset, start=1):
        yield (
            Location(path, number, "row"),
            {name: _named(value, names[name]) for name, value in values.items()},
        )


def _loaded(library: Any, path: str, config: Optional[str]) -> Any:
    """Return one split of a dataset."""
    source, _, split = path.partition("!")
    is_here = Path(source).exists()
    if not is_here and tuple(map(int, library.__version__.split(".")[:2])) < OLDEST_DATASETS:
        raise ConfigurationError(
            f"no folder {source!r}, and datasets {library.__version__} may run code from the hub: "
            f"names of datasets take {'.'.join(map(str, OLDEST_DATASETS))} or later"
        )
    try:
        found = library.load_from_disk(source) if is_here else library.load_dataset(source, config)
    # The library raises nearly anything for a missing dataset, network or split.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigurationError(
            f"no dataset at {source!r}: it is neither a folder that save_to_disk wrote nor a "
            f"dataset on the hub ({type(error).__name__}: {reason})"
        ) from error
    if not isinstance(found, library.DatasetDict):
        if split:
            raise ConfigurationError(f"{source!r} has no splits: leave out '!{split}'")
        return found
    splits: List[str] = list(found)
    if not split and len(splits) == 1:
        return found[splits[0]]
    if split not in splits:
        problem = f"no split {split!r} in {source!r}" if split else f"{source!r} has several splits"
        choices = " or ".join(f"{source}!{name}" for name in splits)
        raise ConfigurationError(f"{problem}: give {choices}")
    return found[split]


def _named(value: Any, names: Optional[List[str]]) -> Any:
    """Return the name of a class label; -1 is the library's mark for no label."""
    if not names or not isinstance(value, int):
        return value
    return None if value == -1 else names[value]


def _imported(module: str, package: str, purpose: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(f"{purpose} need {package}: pip install {package}") from error
