"""Read the rows of a training run again, as texts."""

import json
from itertools import islice
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError
from allennlp.data import DataLoader, DatasetReader
from allennlp.data.dataset_readers import InterleavingDatasetReader

from sledgehammer.dataset_readers.base import TOKENISED_TOGETHER, Row, TransformerReader
from sledgehammer.network.fingerprints import row_hashes
from sledgehammer.objectives.base import ReadRow
from sledgehammer.training.fine_tuning import GivenRows


def rows_of(loaders: Sequence[Optional[DataLoader]]) -> Iterator[ReadRow]:
    """Read what some data loaders read, as texts.

    # Parameters

    loaders : `Sequence[Optional[DataLoader]]`
        Loaders that may be missing (`None`).

    # Raises

    `ConfigurationError` for a loader whose reader is neither a `TransformerReader` nor several of
    them interleaved.
    """
    for loader in loaders:
        if loader is None:
            continue
        reader, path = getattr(loader, "reader", None), getattr(loader, "data_path", None)
        for our_reader, rows in sources(reader, path):
            while block := list(islice(rows, TOKENISED_TOGETHER)):
                texts = [row.texts for row in block]
                fingerprints = row_hashes(our_reader.tensors(our_reader.encode(texts)))
                yield from map(ReadRow, fingerprints.tolist(), texts)


def label_counts(loader: DataLoader) -> Dict[str, int]:
    """Return how many of a loader's rows each label has; rows without one do not count.

    # Raises

    `ConfigurationError` as `rows_of`.
    """
    counts: Dict[str, int] = {}
    for _, rows in sources(getattr(loader, "reader", None), getattr(loader, "data_path", None)):
        for row in rows:
            if row.label is not None:
                counts[row.label] = counts.get(row.label, 0) + 1
    return counts


def sources(
    reader: Optional[DatasetReader], path: Any
) -> Iterator[Tuple[TransformerReader, Iterator[Row]]]:
    """Yield the readers of ours that make a loader's instances, each with its rows.

    # Raises

    `ConfigurationError` if one of the readers is not ours.
    """
    if isinstance(reader, GivenRows):
        yield reader.reader, iter(reader.rows)
    elif isinstance(reader, TransformerReader):
        yield reader, islice(reader.selected_rows(path), reader.max_instances)
    elif isinstance(reader, InterleavingDatasetReader):
        paths: Mapping[str, Any] = json.loads(path) if isinstance(path, str) else path
        for name, part in reader._readers.items():
            yield from sources(part, paths[name])
    else:
        raise ConfigurationError(
            f"the rows of a {type(reader).__name__} cannot be read again as texts: use a reader "
            "built on sledgehammer's (SingleTextReader or TextPairReader)"
        )
