"""What all exits say about some rows: one pass, from which every policy can be replayed."""

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Optional, Sequence

import torch
from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError
from allennlp.nn import util
from torch import Tensor

from sledgehammer.analysis.tradeoff import Tradeoff
from sledgehammer.dataset_readers.base import Row, TransformerReader, token_batches
from sledgehammer.model.archives import Opened
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.fitted_rows import row_hashes
from sledgehammer.network.runner import Answers
from sledgehammer.network.signals import SIGNALS
from sledgehammer.policies import RowSettings


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


def fingerprints(reader: TransformerReader, rows: Sequence[Row]) -> Tensor:
    """Return a fingerprint of each row (see `row_hashes`), without running a model: (rows,)."""
    found = torch.zeros(len(rows), dtype=torch.long)
    for tokens, positions in token_batches(reader, rows, batch_size=256):
        found[positions] = row_hashes(tokens)
    return found


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
    model: ExitClassifier, outputs: ExitOutputs, settings: Optional[RowSettings] = None
) -> Answers:
    """What the model's policy would have answered, on the CPU; see `ExitClassifier.answer`."""
    return model.answer(outputs.logits, settings, outputs.signals)


def replay(opened: Opened, outputs: ExitOutputs) -> Tradeoff:
    """The trade-off of an archive's policy from the outputs of all exits."""
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
