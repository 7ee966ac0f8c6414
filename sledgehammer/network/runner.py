"""Running a batch layer by layer, row by row out of the door.

Rows that have an answer leave the batch, and columns that are padding in all remaining rows are
cut, so that nothing is computed for a row after its exit.
"""

from enum import Enum
from typing import List, Optional, Sequence

import torch
from numpy import ndarray
from torch import Tensor

from sledgehammer.network.active_rows import ActiveRows, Answers, Collected, LexicalLogits, indices
from sledgehammer.network.encoder import LayeredEncoder, LayerInput, Pooling, TokenTensors
from sledgehammer.network.exit_head import ExitHead
from sledgehammer.network.gradients import scaled_gradient
from sledgehammer.network.signals import CERTAINTY, DEPTH, AllExits, DepthHead
from sledgehammer.policies import ExitPolicy, RowSettings

__all__ = ["Answers", "GradientFlow", "LayerwiseRunner", "LexicalLogits"]


class GradientFlow(Enum):
    """How far the loss of an exit reaches down."""

    ALL = "to all layers below it"
    BETWEEN_EXITS = "down to the next lower exit"
    EQUILIBRIUM = (
        "to all layers below it, each of which gets the mean of all exits above, not the sum"
    )
    LOWER_EXITS = "not beyond the exit itself: the backbone and the last exit are frozen"


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
        lexical: Optional[LexicalLogits] = None,
    ) -> Answers:
        """Run each row until `policy` lets it exit; the last exit answers the rest.

        # Parameters

        tokens : `TokenTensors`
        temperatures : `Tensor`
            Shape (exits,), those of the lexical exit included if there is one.
        policy : `ExitPolicy`
        settings : `RowSettings`, optional
            In place of the policy's own; arrays of shape (rows,) where rows have their own.
        lexical : `LexicalLogits`, optional
            Of the exit before the first layer: the rows that it answers are not even embedded.
        """
        active = ActiveRows(
            self._encoder, tokens, policy.values if settings is None else settings, lexical
        )
        collected = Collected()
        plan = self._plan(active, policy)
        each_temperature = temperatures.unbind()
        heads: List[Optional[ExitHead]] = [*([] if lexical is None else [None]), *self._exits]
        for position, head in enumerate(heads):
            if plan is not None and position not in plan:
                continue  # nobody takes this exit
            states = [] if head is None else self._states(active, head)
            probs = torch.softmax(
                _logits(active, position, head, states) / each_temperature[position], dim=-1
            )
            if position == len(heads) - 1:
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
                collected.add(there, position, probs[indices(leaving, probs.device)])
                active.keep([row for row, stop in enumerate(decided) if not stop])
        return collected.answers()

    def _plan(self, active: ActiveRows, policy: ExitPolicy) -> Optional[List[int]]:
        """Each row's exit, if it is known before the run."""
        known = {}
        if DEPTH in policy.needs:
            assert self._depth is not None, "a policy is not bound to a model without its signals"
            known = active.predict(self._depth(active.inputs))
        planned = policy.plan(len(active.positions), known, active.settings)
        return None if planned is None else planned.tolist()

    def _states(self, active: ActiveRows, head: ExitHead) -> List[Tensor]:
        """Run the rows up to an exit: the states that it looks at."""
        active.inputs = self._advance(active.inputs, active.pooled, head)
        return head.states(active.pooled, active.inputs)

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


def _logits(
    active: ActiveRows, position: int, head: Optional[ExitHead], states: List[Tensor]
) -> Tensor:
    """The logits of an exit, `None` being the lexical one, whose own are mixed into the others'."""
    if head is None:
        return active.lexical_logits
    return active.mixed(position, head.logits(states))


def _decide(
    active: ActiveRows,
    policy: ExitPolicy,
    head: Optional[ExitHead],
    states: List[Tensor],
    probs: Tensor,
) -> List[bool]:
    """Which of the rows that run stop at this exit, which gave them these probabilities."""
    certainty = None
    if CERTAINTY in policy.needs:
        if head is None:
            certainty = probs.amax(dim=-1)
        else:
            certainty = head.certainty(torch.stack(states, dim=1))
    decision = policy.decide(active.see(probs, certainty), active.settings)
    if isinstance(decision, ndarray):
        return decision.tolist()
    return [decision] * len(active.positions)
