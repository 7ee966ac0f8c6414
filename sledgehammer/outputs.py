"""What all exits say about some rows: one pass, from which every policy can be replayed."""

import math
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import torch
from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError
from allennlp.nn import util
from torch import Tensor

from sledgehammer.classifier import ExitClassifier
from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.dataset_readers.json_lines import json_rows
from sledgehammer.early_exit import Answers
from sledgehammer.encoder import TokenTensors
from sledgehammer.policies import Settings
from sledgehammer.seen import row_hashes
from sledgehammer.signals import SIGNALS


@dataclass
class ExitOutputs:
    """The exits' answers to some rows, in the order of the rows.

    # Parameters

    logits : `Tensor`
        Shape (rows, exits, labels), uncalibrated.
    label : `Optional[Tensor]`
        Shape (rows,), long; `None` unless every row has one.
    hashes : `Tensor`
        Shape (rows,), int64: fingerprints (see `row_hashes`).
    tokens : `Tensor`
        Shape (rows,), long: word pieces of each row.
    certainty, depth : `Optional[Tensor]`
        Shape (rows, exits): the signals that the model has.
    """

    logits: Tensor
    label: Optional[Tensor]
    hashes: Tensor
    tokens: Tensor
    certainty: Optional[Tensor] = None
    depth: Optional[Tensor] = None

    @property
    def signals(self) -> Dict[str, Tensor]:
        """Those that there are, by name."""
        found = {name: getattr(self, name) for name in SIGNALS}
        return {name: signal for name, signal in found.items() if signal is not None}


def read_rows(
    reader: TransformerReader, path: str, json_lines: bool = False, labelled: bool = True
) -> List[Row]:
    """The rows of a data file, read by the archive's reader or as JSON lines.

    # Parameters

    json_lines : `bool`, optional (default = `False`)
        Whether the file has the lines that `allennlp predict` takes, each maybe with a `"label"`.
    labelled : `bool`, optional (default = `True`)
        Whether every row must have a label.

    # Raises

    `ConfigurationError` if there are no rows, one is malformed, or a label is missing.
    """
    all_rows = json_rows(path, reader.fields) if json_lines else reader.selected_rows(path)
    rows = list(islice(all_rows, reader.max_instances))
    if not rows:
        raise ConfigurationError(f"no rows in {path!r}: it needs at least one labelled row")
    missing = sum(row.label is None for row in rows)
    if labelled and missing:
        raise ConfigurationError(
            f"{path!r}: {missing} of {len(rows)} rows have no label, and labels are needed here"
        )
    return rows


def run_all_exits(
    model: ExitClassifier, reader: TransformerReader, rows: Sequence[Row], batch_size: int = 64
) -> ExitOutputs:
    """Run every exit on every row, in batches of rows of about the same length.

    # Raises

    `ConfigurationError` for a label that the model does not know.
    """
    label = label_indices(model, rows)
    outputs: Dict[str, List[Tensor]] = {name: [] for name in ("logits", *model.signals)}
    hashes, lengths, order = [], [], []
    device = model.temperatures.device
    batches = token_batches(reader, rows, batch_size)
    total = math.ceil(len(rows) / batch_size)
    with torch.no_grad(), _all_exits(model):
        for tokens, positions in Tqdm.tqdm(batches, "running all exits", total=total):
            order.append(positions)
            hashes.append(row_hashes(tokens))
            lengths.append(tokens["attention_mask"].sum(dim=1))
            found = model(util.move_to_device(tokens, device))
            for name, parts in outputs.items():
                parts.append(found[name].float().cpu())
    back = torch.argsort(torch.cat(order))
    made = {name: torch.cat(parts)[back] for name, parts in outputs.items()}
    return ExitOutputs(
        label=label, hashes=torch.cat(hashes)[back], tokens=torch.cat(lengths)[back], **made
    )


def token_batches(
    reader: TransformerReader, rows: Sequence[Row], batch_size: int
) -> Iterator[Tuple[TokenTensors, Tensor]]:
    """The model's input for rows of about the same length, longest first.

    # Returns

    The batches: their tokens, each tensor of shape (rows, tokens), on the CPU; and the
    positions of their rows.
    """
    encoded = reader.encode([row.texts for row in rows])
    lengths = torch.tensor([len(row["input_ids"]) for row in encoded])
    order = torch.sort(lengths, descending=True, stable=True).indices
    for positions in order.split(batch_size):
        yield reader.tensors([encoded[i] for i in positions]), positions


def label_indices(model: ExitClassifier, rows: Iterable[Row]) -> Optional[Tensor]:
    """The labels of rows as the model counts them: (rows,), long; `None` unless all have one.

    # Raises

    `ConfigurationError` for a label that the model does not know.
    """
    known = model.vocab.get_token_to_index_vocabulary(model.label_namespace)
    labels = [row.label for row in rows]
    for number, label in enumerate(labels, start=1):
        if label is not None and label not in known:
            raise ConfigurationError(
                f"row {number} has the label {label!r}, which the model does not know; "
                f"it knows {', '.join(known)}"
            )
    if None in labels:
        return None
    return torch.tensor([known[label] for label in labels if label is not None])


@contextmanager
def _all_exits(model: ExitClassifier) -> Iterator[None]:
    before = model.training, model.always_run_all_exits
    model.eval()
    model.always_run_all_exits = True
    try:
        yield
    finally:
        model.train(before[0])
        model.always_run_all_exits = before[1]


def replayed(
    model: ExitClassifier, outputs: ExitOutputs, settings: Optional[Settings] = None
) -> Answers:
    """What the model's policy would have answered, on the CPU; see `ExitClassifier.answer`."""
    return model.answer(outputs.logits, settings, outputs.signals)
