"""Running a batch layer by layer, row by row out of the door.

Rows that have an answer leave the batch, and columns that are padding in all remaining rows are
cut, so that nothing is computed for a row after its exit.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Dict, List, Optional, Sequence

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from sledgehammer.network.encoder import LayeredEncoder, LayerInput, Pooling, TokenTensors
from sledgehammer.network.exit_head import ExitHead
from sledgehammer.network.gradients import scaled_gradient
from sledgehammer.network.signals import CERTAINTY, DEPTH, AllExits, DepthHead
from sledgehammer.policies import Evidence, ExitPolicy, RowSettings


class GradientFlow(Enum):
    """How far the loss of an exit reaches down."""

    ALL = "to all layers below it"
    BETWEEN_EXITS = "down to the next lower exit"
    EQUILIBRIUM = (
        "to all layers below it, each of which gets the mean of all exits above, not the sum"
    )
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

    What decides over the next step is kept on the host, so that an exit's probabilities are all
    that has to come from the device.
    """

    def __init__(self, inputs: LayerInput, settings: RowSettings) -> None:
        self.inputs = inputs
        self.settings = settings
        self.pooled: List[Tensor] = []  # one a layer run: (rows, hidden)
        self.positions = list(range(len(inputs.mask)))  # in the whole batch
        self._probs: List[ndarray] = []  # on the host, one an exit passed: (rows, labels)
        self._certainty: List[ndarray] = []  # the same: (rows, 1)
        self._depth: Optional[ndarray] = None  # on the host: (rows, exits)
        self._lengths: List[int] = []  # real tokens; known from the first transfer on

    def predict(self, depth: Tensor) -> Dict[str, ndarray]:
        """Bring the (rows, exits) predictions of the depth to the host."""
        (self._depth,) = self.transfer([depth])
        return {DEPTH: self._depth}

    def see(self, probs: Tensor, certainty: Optional[Tensor]) -> Evidence:
        """Add an exit's (rows, labels) probabilities, and its certainty: one transfer."""
        seen = self.transfer([probs] if certainty is None else [probs, certainty[:, None]])
        self._probs.append(seen[0])
        signals = {} if self._depth is None else {DEPTH: self._depth}
        if certainty is not None:
            self._certainty.append(seen[1])
            signals[CERTAINTY] = np.concatenate(self._certainty, axis=1)
        return Evidence(list(self._probs), signals)

    def transfer(self, columns: List[Tensor]) -> List[ndarray]:
        """Bring (rows, some) tensors to the host, and the lengths if they are not there yet."""
        lengths_too = len(self.positions) > 1 and not self._lengths
        if len(columns) == 1 and not lengths_too:
            return [_on_host(columns[0])]
        parts = list(columns)
        if lengths_too:
            parts.append(self.inputs.mask.sum(dim=1, keepdim=True).float())
        table = _on_host(torch.cat(parts, dim=1))
        if lengths_too:
            self._lengths = table[:, -1].astype(int).tolist()
        ends = np.cumsum([column.size(1) for column in columns])
        return np.split(table, ends, axis=1)[: len(columns)]

    def keep(self, staying: List[int], encoder: LayeredEncoder) -> None:
        """Go on with some of the rows, and without the columns that only the others needed."""
        if not self._lengths:
            self.transfer([self.inputs.mask[:, :0].float()])
        self.positions = [self.positions[i] for i in staying]
        self._lengths = [self._lengths[i] for i in staying]
        rows = _indices(staying, self.inputs.mask.device)
        self.inputs = encoder.narrow(self.inputs, rows, max(self._lengths))
        self.pooled = [state[rows] for state in self.pooled]
        self._probs = [probs[staying] for probs in self._probs]
        self._certainty = [certainty[staying] for certainty in self._certainty]
        self._depth = None if self._depth is None else self._depth[staying]
        self.settings = self.settings.of(staying)


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


def _on_host(tensor: Tensor) -> ndarray:
    # Microseconds, but between layers of a thousand.
    return (tensor.detach() if tensor.requires_grad else tensor).cpu().numpy()


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
        for position, head in enumerate(self._exits):
            # This exit and those above it. If it gets 1 / left of its gradient from its own states,
            # and lets (left - 1) / left pass from above, each layer gets the mean of all.
            left = len(self._exits) - position
            share = 1 / left if gradients is GradientFlow.EQUILIBRIUM else 1.0
            with torch.set_grad_enabled(learns):
                inputs = self._advance(inputs, pooled, head, share)
            states = head.states(pooled, scaled_gradient(inputs, share))
            logits.append(head.logits(states))
            if head.halting is not None:
                certainties.append(head.certainty(torch.stack(states, dim=1)))
            if gradients is GradientFlow.BETWEEN_EXITS:
                inputs = inputs._replace(hidden=inputs.hidden.detach())
                pooled = [state.detach() for state in pooled]
            elif gradients is GradientFlow.EQUILIBRIUM:
                inputs = scaled_gradient(inputs, 1 - share)
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
        settings: Optional[RowSettings] = None,
    ) -> Answers:
        """Run each row until `policy` lets it exit; the last exit answers the rest.

        # Parameters

        tokens : `TokenTensors`
        temperatures : `Tensor`
            Shape (exits,).
        policy : `ExitPolicy`
        settings : `RowSettings`, optional
            In place of the policy's own; arrays of shape (rows,) where rows have their own.
        """
        active = _ActiveRows(
            self._encoder.start(tokens), policy.values if settings is None else settings
        )
        collected = _Collected()
        plan = self._plan(active, policy)
        each_temperature = temperatures.unbind()
        for position, head in enumerate(self._exits):
            if plan is not None and position not in plan:
                continue  # nobody takes this exit
            active.inputs = self._advance(active.inputs, active.pooled, head)
            states = head.states(active.pooled, active.inputs)
            probs = torch.softmax(head.logits(states) / each_temperature[position], dim=-1)
            if position == len(self._exits) - 1:
                collected.add(active.positions, position, probs)
                break
            if plan is None:
                decided = _decide(active, policy, head, states, probs)
            else:
                decided = [plan[row] == position for row in active.positions]
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

    def _plan(self, active: _ActiveRows, policy: ExitPolicy) -> Optional[List[int]]:
        """Each row's exit, if it is known before the run."""
        known = {}
        if DEPTH in policy.needs:
            assert self._depth is not None, "a policy is not bound to a model without its signals"
            known = active.predict(self._depth(active.inputs))
        planned = policy.plan(len(active.positions), known, active.settings)
        return None if planned is None else planned.tolist()

    def _advance(
        self, inputs: LayerInput, pooled: List[Tensor], head: ExitHead, share: float = 1.0
    ) -> LayerInput:
        """Run the layers up to the exit's, adding one pooled state a layer to `pooled`.

        Of their gradients only so large a share flows back.
        """
        for layer in range(len(pooled), head.layer + 1):
            inputs = self._encoder.run_layer(layer, inputs)
            pooled.append(self._pool(scaled_gradient(inputs, share)))
        return inputs


def _decide(
    active: _ActiveRows, policy: ExitPolicy, head: ExitHead, states: List[Tensor], probs: Tensor
) -> List[bool]:
    """Which of the rows that run stop at this exit, which gave them these probabilities."""
    certainty = None
    if CERTAINTY in policy.needs:
        certainty = head.certainty(torch.stack(states, dim=1))
    decision = policy.decide(active.see(probs, certainty), active.settings)
    if isinstance(decision, ndarray):
        return decision.tolist()
    return [decision] * len(active.positions)
