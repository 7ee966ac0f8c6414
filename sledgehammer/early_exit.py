"""Running a batch layer by layer, row by row out of the door.

Rows that have an answer leave the batch, and columns that are padding in all remaining rows are
cut, so that nothing is computed for a row after its exit.
"""

from dataclasses import dataclass
from enum import Enum
from typing import List, Optional, Sequence

import torch
from torch import Tensor

from sledgehammer.encoder import LayeredEncoder, LayerInput, Pooling, TokenTensors
from sledgehammer.exits import ExitHead
from sledgehammer.policies import ExitPolicy
from sledgehammer.signals import CERTAINTY, DEPTH, AllExits, DepthHead


class GradientFlow(Enum):
    """How far the loss of an exit reaches down."""

    ALL = "to all layers below it"
    BETWEEN_EXITS = "down to the next lower exit"
    LOWER_EXITS = "not beyond the exit itself: the backbone and the last exit are frozen"


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


class _ActiveRows:
    """The rows that still run, and all that belongs to them.

    What decides over the next step is kept on the host, so that only the decisions themselves
    have to come from the device.
    """

    def __init__(self, inputs: LayerInput, threshold: Optional[Tensor]) -> None:
        self.inputs = inputs
        self.threshold = threshold  # (rows,)
        self.pooled: List[Tensor] = []  # one a layer run: (rows, hidden)
        self.probs: List[Tensor] = []  # one an exit passed: (rows, labels)
        self.positions = list(range(len(inputs.mask)))  # in the whole batch
        self._lengths: List[int] = []  # real tokens; known from the first decision on

    def decided(self, stops: Tensor) -> List[bool]:
        """The (rows,) decisions, on the host: an exit's one transfer from the device."""
        if len(self.positions) == 1 or self._lengths:
            return stops.tolist()
        lengths = self.inputs.mask.sum(dim=1)
        decisions, self._lengths = torch.stack([stops.long(), lengths]).tolist()
        return decisions

    def keep(self, staying: List[int], encoder: LayeredEncoder) -> None:
        """Go on with some of the rows, and without the columns that only the others needed."""
        self.positions = [self.positions[i] for i in staying]
        self._lengths = [self._lengths[i] for i in staying]
        rows = _indices(staying, self.inputs.mask.device)
        self.inputs = encoder.narrow(self.inputs, rows, max(self._lengths))
        self.pooled = [state[rows] for state in self.pooled]
        self.probs = [probs[rows] for probs in self.probs]
        self.threshold = None if self.threshold is None else self.threshold[rows]


class _Collected:
    """The answers so far, in the order in which rows leave."""

    def __init__(self) -> None:
        self._positions: List[int] = []
        self._exits: List[int] = []
        self._probs: List[Tensor] = []

    def add(self, positions: List[int], exit_number: int, probs: Tensor) -> None:
        self._positions += positions
        self._exits += [exit_number] * len(positions)
        self._probs.append(probs)

    def answers(self) -> Answers:
        """In the order of the whole batch."""
        device = self._probs[0].device
        if len(self._probs) == 1:  # all rows left together, in their order
            return Answers(
                torch.full((len(self._exits),), self._exits[0], device=device), self._probs[0]
            )
        back = sorted(range(len(self._positions)), key=self._positions.__getitem__)
        exits = _indices([self._exits[i] for i in back], device)
        return Answers(exits, torch.cat(self._probs)[_indices(back, device)])


def _indices(numbers: List[int], device: torch.device) -> Tensor:
    made = torch.tensor(numbers)
    # Unlike one that blocks, this copy does not wait for what the device still has to do.
    return made if device.type == "cpu" else made.to(device, non_blocking=True)


class LayerwiseRunner:
    """Runs encoder and exits over a batch: all exits, or each row until its answer.

    # Parameters

    encoder : `LayeredEncoder`
    pool : `Pooling`
    exits : `Sequence[ExitHead]`
        By layer, lowest first.
    depth : `DepthHead`, optional
        Predicts each row's exit, if there is need of it.
    """

    def __init__(
        self,
        encoder: LayeredEncoder,
        pool: Pooling,
        exits: Sequence[ExitHead],
        depth: Optional[DepthHead] = None,
    ) -> None:
        self._encoder = encoder
        self._pool = pool
        self._exits = exits
        self._depth = depth

    def run_all_exits(
        self, tokens: TokenTensors, gradients: GradientFlow = GradientFlow.ALL
    ) -> AllExits:
        """What every exit says of every row.

        # Parameters

        tokens : `TokenTensors`
        gradients : `GradientFlow`, optional
            How far gradients flow back, where they are computed at all.
        """
        frozen = gradients is GradientFlow.LOWER_EXITS
        learns = torch.is_grad_enabled() and not frozen
        with torch.set_grad_enabled(learns):
            inputs = self._encoder.start(tokens)
        signals = {} if self._depth is None else {DEPTH: self._depth(inputs)}
        pooled: List[Tensor] = []
        logits, certainties = [], []
        for head in self._exits:
            with torch.set_grad_enabled(learns):
                inputs = self._advance(inputs, pooled, head)
            logits.append(head.logits(pooled))
            if head.halting is not None:
                certainties.append(head.certainty(torch.stack(pooled, dim=1)))
            if gradients is GradientFlow.BETWEEN_EXITS:
                inputs = inputs._replace(hidden=inputs.hidden.detach())
                pooled = [state.detach() for state in pooled]
        if frozen:
            # Not even a gradient of zero, with which an optimizer's momentum would move it on.
            logits[-1] = logits[-1].detach()
        if certainties:
            signals[CERTAINTY] = torch.stack(certainties, dim=1)
        return AllExits(torch.stack(logits, dim=1), signals)

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
        active = _ActiveRows(self._encoder.start(tokens), threshold)
        collected = _Collected()
        # Exits that no row could take need not be computed.
        first = 0 if policy.may_exit(threshold) else len(self._exits) - 1
        each_temperature = temperatures.unbind()
        for position, head in enumerate(self._exits[first:], start=first):
            active.inputs = self._advance(active.inputs, active.pooled, head)
            logits = head.logits(active.pooled)
            probs = torch.softmax(logits / each_temperature[position], dim=-1)
            if position == len(self._exits) - 1:
                collected.add(active.positions, position, probs)
                break
            active.probs.append(probs)
            stops = policy.should_exit(torch.stack(active.probs, dim=1), active.threshold)
            decided = active.decided(stops)
            if all(decided):
                collected.add(active.positions, position, probs)
                break
            if any(decided):
                leaving = [row for row, stop in enumerate(decided) if stop]
                there = [active.positions[row] for row in leaving]
                collected.add(there, position, probs[_indices(leaving, probs.device)])
                staying = [row for row, stop in enumerate(decided) if not stop]
                active.keep(staying, self._encoder)
        return collected.answers()

    def _advance(self, inputs: LayerInput, pooled: List[Tensor], head: ExitHead) -> LayerInput:
        """Run the layers up to the exit's, adding one pooled state a layer to `pooled`."""
        for layer in range(len(pooled), head.layer + 1):
            inputs = self._encoder.run_layer(layer, inputs)
            pooled.append(self._pool(inputs))
        return inputs
