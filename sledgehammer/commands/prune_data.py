"""Read the rows that `allennlp prune` learns from and those that it judges by."""

import argparse
import json
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError
from allennlp.common.params import parse_overrides, with_overrides
from allennlp.nn import util
from torch import Tensor

from sledgehammer.analysis.all_exits import label_indices
from sledgehammer.commands.base import rows_at
from sledgehammer.dataset_readers.base import Row, token_batches
from sledgehammer.dataset_readers.holdout import PARTS, split_path
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archive_files import read_member
from sledgehammer.model.archives import Opened
from sledgehammer.network.encoder import TokenTensors


class PruningData(NamedTuple):
    """Hold rows to learn from and rows to judge by.

    # Parameters

    rows : `List[Row]`
        The training rows.
    labels : `Tensor`
        Shape (rows,), long: their labels.
    validation : `str`
        Where the validation rows come from.
    validation_rows : `List[Row]`
    """

    rows: List[Row]
    labels: Tensor
    validation: str
    validation_rows: List[Row]


def read_config(archive: str, overrides: str) -> Dict[str, Any]:
    """Return an archive's config with overrides applied."""
    config = json.loads(read_member(archive, "config.json"))
    return with_overrides(config, parse_overrides(overrides)) if overrides else config


def read_data(opened: Opened, arguments: argparse.Namespace, config: Dict[str, Any]) -> PruningData:
    """Read all rows, so that every mistake in them shows before anything is computed.

    # Raises

    `ConfigurationError` if rows cannot be read, a label is unknown, or nothing names validation
    data.
    """
    model, reader = opened
    rows = rows_at(arguments.data, arguments, reader)
    labels = label_indices(model, rows)
    assert labels is not None
    path, part = split_path(arguments.data)
    requested = arguments.validation or (f"{path}#{PARTS[1]}" if part == PARTS[0] else None)
    validation = requested or config.get("validation_data_path")
    if not validation:
        raise ConfigurationError("the archive names no validation data: give --validation DATA")
    try:
        # --data-format is about the user's files; the archive names a file for its own reader.
        data_format = arguments.data_format if requested else None
        validation_rows = read_rows(reader, validation, data_format=data_format)
    except ConfigurationError as error:
        if requested:
            raise
        raise ConfigurationError(
            f"the archive's own validation data: {error.message}; give --validation DATA"
        ) from error
    label_indices(model, validation_rows)
    return PruningData(rows, labels, validation, validation_rows)


def importance_batches(
    opened: Opened, data: PruningData, arguments: argparse.Namespace
) -> Iterator[Tuple[TokenTensors, Tensor]]:
    """Yield tokens and labels of `--importance-rows` training rows, on the model's device.

    The rows are spread evenly over the training data.
    """
    count = min(arguments.importance_rows, len(data.rows))
    drawn = [i * len(data.rows) // count for i in range(count)]
    rows, labels = [data.rows[i] for i in drawn], data.labels[drawn]
    device = opened.model.temperatures.device
    batches = token_batches(opened.reader, rows, arguments.batch_size)
    total = -(-count // arguments.batch_size)
    for tokens, positions in Tqdm.tqdm(batches, "measuring importance", total=total):
        yield util.move_to_device(tokens, device), labels[positions].to(device)
