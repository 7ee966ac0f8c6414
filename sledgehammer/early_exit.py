"""Running a batch layer by layer, row by row out of the door.

Rows that have an answer leave the batch, and columns that are padding in all remaining rows are
cut, so that nothing is computed for a row after its exit.
"""

from dataclasses import dataclass
from typing import List, Optional, Sequence

import torch
from torch import Tensor

from sledgehammer.encoder import LayeredEncoder, LayerInput, Pooling, TokenTensors
from sledgehammer.exits import ExitHead
from sledgehammer.policies import ExitPolicy


@dataclass
class Answers:
    """One answer a row.

    # Parameters

    exit : `Tensor`
        Shape (rows,), long: the position of the exit that answered.
    probs : `Tensor`
        Shape (rows, labels): its calibrated probabilities.
    """

    exit: Tensor
    probs: Tensor


@dataclass
class _ActiveRows:
    """The rows that still run, and all that belongs to them."""

    inputs: LayerInput
    pooled: List[Tensor]  # one a layer run: (rows, hidden)
    rows: Tensor  # (rows,), positions in the whole batch
    lengths: Tensor  # (rows,), real tokens
    probs: List[Tensor]  # one an exit passed: (rows, labels)
    threshold: Optional[Tensor]  # (rows,)

    def keep(self, rows: Tensor, tokens: int, encoder: LayeredEncoder) -> None:
        self.inputs = encoder.narrow(self.inputs, rows, tokens)
        self.pooled = [state[rows] for state in self.pooled]
        self.rows = self.rows[rows]
        self.lengths = self.lengths[rows]
        self.probs = [probs[rows] for probs in self.probs]
        self.threshold = None if self.threshold is None else self.threshold[rows]


class LayerwiseRunner:
    """Runs encoder and exits over a batch: all exits, or each row until its answer.

    # Parameters

    encoder : `LayeredEncoder`
    pool : `Pooling`
    exits : `Sequence[ExitHead]`
        By layer, lowest first.
    """

    def __init__(self, encoder: LayeredEncoder, pool: Pooling, exits: Sequence[ExitHead]) -> None:
        self._encoder = encoder
        self._pool = pool
        self._exits = exits

    def run_all_exits(self, tokens: TokenTensors) -> Tensor:
        """Uncalibrated logits of every exit for every row: (rows, exits, labels)."""
        inputs = self._encoder.start(tokens)
        pooled: List[Tensor] = []
        logits = []
        for head in self._exits:
            inputs = self._advance(inputs, pooled, head)
            logits.append(head(torch.stack(pooled, dim=1)))
        return torch.stack(logits, dim=1)

    def run_until_answered(
        self,
        tokens: TokenTensors,
        temperatures: Tensor,
        policy: ExitPolicy,
        threshold: Optional[Tensor] = None,
    ) -> Answers:
        """Run each row until `policy` lets it exit; the last exit answers the rest.

        # Parameters

        tokens : `TokenTensors`
        temperatures : `Tensor`
            Shape (exits,).
        policy : `ExitPolicy`
        threshold : `Optional[Tensor]`
            Shape (rows,): for single rows, in place of the policy's own.
        """
        inputs = self._encoder.start(tokens)
        batch = len(inputs.mask)
        device = inputs.mask.device
        lengths = inputs.mask.sum(dim=1)
        active = _ActiveRows(inputs, [], torch.arange(batch, device=device), lengths, [], threshold)
        exits = torch.full((batch,), len(self._exits) - 1, dtype=torch.long, device=device)
        answers: Optional[Tensor] = None
        for position, head in enumerate(self._exits):
            active.inputs = self._advance(active.inputs, active.pooled, head)
            logits = head(torch.stack(active.pooled, dim=1)).float()
            probs = torch.softmax(logits / temperatures[position], dim=-1)
            if answers is None:
                answers = torch.empty((batch, probs.size(-1)), dtype=probs.dtype, device=device)
            if position == len(self._exits) - 1:
                answers[active.rows] = probs
                break
            active.probs.append(probs)
            stops = policy.should_exit(torch.stack(active.probs, dim=1), active.threshold)
            # One transfer an exit brings all that the next step needs to know from the device.
            decided, longest = torch.stack([stops.long(), active.lengths]).cpu()
            if not decided.any():
                continue
            answers[active.rows[stops]] = probs[stops]
            exits[active.rows[stops]] = position
            if decided.all():
                break
            staying = (decided == 0).nonzero().squeeze(1)
            active.keep(staying.to(device), int(longest[staying].max()), self._encoder)
        assert answers is not None, "a model has at least one exit"
        return Answers(exits, answers)

    def _advance(self, inputs: LayerInput, pooled: List[Tensor], head: ExitHead) -> LayerInput:
        """Run the layers up to the exit's, adding one pooled state a layer to `pooled`."""
        for layer in range(len(pooled), head.layer + 1):
            inputs = self._encoder.run_layer(layer, inputs)
            pooled.append(self._pool(inputs))
        return inputs
