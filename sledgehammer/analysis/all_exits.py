"""Run all exits once on some rows; every policy can be replayed from their outputs."""

import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence

import torch
from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError
from allennlp.nn import util
from torch import Tensor

from sledgehammer.analysis.tradeoff import Tradeoff
from sledgehammer.dataset_readers.base import Row, Tokenised, TransformerReader, input_batches
from sledgehammer.model.archives import Opened
from sledgehammer.model.base import ExitClassifier
from sledgehammer.network.fingerprints import row_hashes
from sledgehammer.network.runner import Answers
from sledgehammer.network.signals import SIGNALS
from sledgehammer.policies import RowSettings


@dataclass
class ExitOutputs:
    """Hold the exits' answers to some rows, in the order of the rows.

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
        Shape (rows, exits): the signals that the model has, else `None`.
    """

    logits: Tensor
    label: Optional[Tensor]
    hashes: Tensor
    tokens: Tensor
    certainty: Optional[Tensor] = None
    depth: Optional[Tensor] = None

    @property
    def signals(self) -> Dict[str, Tensor]:
        """Return the signals that the model has, by name."""
        candidates = {name: getattr(self, name) for name in SIGNALS}
        return {name: signal for name, signal in candidates.items() if signal is not None}

    def of_rows(self, rows: Tensor) -> "ExitOutputs":
        """Return the outputs of some of the rows: positions, or a mask of shape (rows,)."""
        return replace(
            self, **{name: part[rows] for name, part in vars(self).items() if part is not None}
        )


def run_all_exits(
    model: ExitClassifier,
    reader: TransformerReader,
    rows: Sequence[Row],
    batch_size: int = 64,
    tokenised: Optional[Tokenised] = None,
) -> ExitOutputs:
    """Run every exit on every row, in batches of rows of about the same length.

    # Parameters

    tokenised : `Tokenised`, optional
        The word pieces of the rows, if the reader has tokenised them already.

    # Raises

    `ConfigurationError` for a label that the model does not know.
    """
    label = label_indices(model, rows)
    inputs = reader.encode([row.texts for row in rows]) if tokenised is None else tokenised.inputs
    outputs: Dict[str, List[Tensor]] = {name: [] for name in ("logits", *model.signals)}
    hashes, lengths, order = [], [], []
    device = model.temperatures.device
    batches = input_batches(reader, inputs, batch_size)
    total = math.ceil(len(rows) / batch_size)
    with torch.no_grad(), _all_exits(model):
        for tokens, positions in Tqdm.tqdm(batches, "running all exits", total=total):
            order.append(positions)
            hashes.append(row_hashes(tokens))
            lengths.append(tokens["attention_mask"].sum(dim=1))
            whole = _whole_texts(model, reader, rows, positions.tolist(), tokenised)
            batch_outputs = model(util.move_to_device(tokens, device), **whole)
            for name, parts in outputs.items():
                parts.append(batch_outputs[name].float().cpu())
    back = torch.argsort(torch.cat(order))  # from batches to the order of the rows
    tensors = {name: torch.cat(parts)[back] for name, parts in outputs.items()}
    return ExitOutputs(
        label=label, hashes=torch.cat(hashes)[back], tokens=torch.cat(lengths)[back], **tensors
    )


def _whole_texts(
    model: ExitClassifier,
    reader: TransformerReader,
    rows: Sequence[Row],
    positions: List[int],
    tokenised: Optional[Tokenised],
) -> Dict[str, Any]:
    """Return what a model with a lexical exit takes beside the tokens of some of the rows."""
    if model.lexical is None:
        return {}
    if tokenised is not None:
        return {"pieces": [tokenised.pieces[i] for i in positions]}
    return {"pieces": reader.pieces([rows[i].texts for i in positions])}


def fingerprints(reader: TransformerReader, rows: Sequence[Row]) -> Tensor:
    """Return a fingerprint of each row (see `row_hashes`), without running a model: (rows,)."""
    return fingerprints_of(reader, reader.encode([row.texts for row in rows]))


def fingerprints_of(reader: TransformerReader, inputs: Sequence[Dict[str, List[int]]]) -> Tensor:
    """Return the fingerprints of rows that have been tokenised; see `fingerprints`."""
    hashes = torch.zeros(len(inputs), dtype=torch.long)
    for tokens, positions in input_batches(reader, inputs, batch_size=256):
        hashes[positions] = row_hashes(tokens)
    return hashes


def label_indices(model: ExitClassifier, rows: Iterable[Row]) -> Optional[Tensor]:
    """Return the model's indices of the rows' labels: (rows,), long; `None` unless all have one.

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
    """Have the model run all exits, without dropout, and restore it afterwards."""
    training, always_run_all_exits = model.training, model.always_run_all_exits
    model.eval()
    model.always_run_all_exits = True
    try:
        yield
    finally:
        model.train(training)
        model.always_run_all_exits = always_run_all_exits


def replayed_answers(
    model: ExitClassifier, outputs: ExitOutputs, settings: Optional[RowSettings] = None
) -> Answers:
    """Return what the model's policy would have answered; see `ExitClassifier.answer`."""
    return model.answer(outputs.logits, settings, outputs.signals)


def tradeoff_of(opened: Opened, outputs: ExitOutputs) -> Tradeoff:
    """Return the trade-off of an archive's policy, from labelled outputs of all exits."""
    assert outputs.label is not None
    model = opened.model
    return Tradeoff(
        model.calibrated(outputs.logits),
        outputs.label,
        model.exit_layers,
        model.full_layers,
        model.policy,
        outputs.signals,
        model.shares_on_host(),
    )
