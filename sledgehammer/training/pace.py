"""Measure how fast a model trains on this machine, to tell how much fits into some minutes."""

import time
from typing import Sequence

import torch

from sledgehammer.dataset_readers.base import Row, TransformerReader, token_batches
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.multi_exit import MultiExitClassifier

STEPS = 4
"""How many batches are timed, after one that is not."""


def seconds_per_row(
    model: MultiExitClassifier, reader: TransformerReader, rows: Sequence[Row], batch_size: int
) -> float:
    """Return how long a training step takes for each of its rows.

    The model's weights are changed by the steps: give one that is thrown away.

    # Parameters

    rows : `Sequence[Row]`
        Labelled; as many as the steps need are drawn, evenly spread.
    batch_size : `int`
        Rows of a step.
    """
    count = min(len(rows), STEPS * batch_size)
    drawn = [rows[i * len(rows) // count] for i in range(count)]
    batches = list(token_batches(reader, drawn, batch_size))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    model.train()
    _step(model, drawn, batches[-1], optimizer)  # the first step allocates memory
    start = time.perf_counter()
    for batch in batches:
        _step(model, drawn, batch, optimizer)
    return (time.perf_counter() - start) / count


def _step(
    model: ExitClassifier, rows: Sequence[Row], batch: tuple, optimizer: torch.optim.Optimizer
) -> None:
    tokens, positions = batch
    known = model.vocab.get_token_to_index_vocabulary(model.label_namespace)
    label = torch.tensor([known[str(rows[i].label)] for i in positions.tolist()])
    optimizer.zero_grad()
    model(tokens, label)["loss"].backward()
    optimizer.step()
