"""Run a batch layer by layer, until each of its rows has an answer.

Rows that have an answer leave the batch, and columns that are padding in all remaining rows are
cut, so that nothing is computed for a row after its exit.
"""

from enum import Enum
from typing import List, NamedTuple, Optional, Protocol, Sequence, Tuple

import torch
from numpy import ndarray
from torch import Tensor

from sledgehammer.network.active_rows import ActiveRows, Answers, Collected, LexicalLogits, indices
from sledgehammer.network.encoder import LayeredEncoder, Pooling
from sledgehammer.network.exit_head import ExitHead
from sledgehammer.network.families import LayerInput, TokenTensors
from sledgehammer.network.gradients import scaled_gradient
from sledgehammer.network.signals import CERTAINTY, DEPTH, AllExits, DepthHead
from sledgehammer.policies import ExitPolicy, RowSettings

__all__ = ["Answers", "GradientFlow", "LayerwiseRunner", "LexicalLogits", "NetworkRunner"]


class GradientFlow(Enum):
    """Say how far the gradient of an exit's loss flows down."""

    ALL = "to all layers below it"
    BETWEEN_EXITS = "down to the next lower exit"
    EQUILIBRIUM = (
        "to all layers below it, each of which gets the mean of all exits above, not the sum"
    )
    LOWER_EXITS = "not beyond the exit itself: the backbone and the last exit are frozen"


class NetworkRunner(Protocol):
    """Run a batch through all exits, or each row until its answer.

    PyTorch does it in `LayerwiseRunner` and `FormatRunner`, an exported model in `EngineRunner`.
    """

    def run_all_exits(
        self, tokens: TokenTensors, gradients: GradientFlow = GradientFlow.ALL
    ) -> AllExits:
        """Return what every exit of the network says about every row.

        # Parameters

        tokens : `TokenTensors`
        gradients : `GradientFlow`, optional
            How far gradients flow back, where they are computed at all.
        """

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
            Shape (exits,), the temperature of the lexical exit included if there is one.
        policy : `ExitPolicy`
        settings : `RowSettings`, optional
            Settings in place of the policy's own; arrays of shape (rows,) where rows differ.
        lexical : `LexicalLogits`, optional
            What the exit before the first layer says: the rows that it answers are not even
            embedded.
        """


class _Exit(NamedTuple):
    """Hold an exit's position, its head (none for the lexical exit), and what it says of the rows.

    # Parameters

    position : `int`
    head : `Optional[ExitHead]`
    states : `List[Tensor]`
        What the head mixes.
    probs : `Tensor`
        Shape (rows, labels), calibrated.
    """

    position: int
    head: Optional[ExitHead]
    states: List[Tensor]
    probs: Tensor

    @property
    def certainty(self) -> Tensor:
        """Return how sure the exit is to be right: (rows,), in [0, 1]."""
        if self.head is None:
            return self.probs.amax(dim=-1)
        return self.head.certainty(torch.stack(self.states, dim=1))


class LayerwiseRunner:
    """Run encoder and exits in PyTorch; see `NetworkRunner`.

    # Parameters

    encoder : `LayeredEncoder`
    pool : `Pooling`
    exits : `Sequence[ExitHead]`
        The lowest first.
    depth : `DepthHead`, optional
        The head that predicts each row's exit, if a policy needs it.
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
        """See `NetworkRunner`."""
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
                inputs, read = self._advance(inputs, pooled, head, share)
            states = head.states(pooled, read)
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
        """See `NetworkRunner`."""
        active = ActiveRows(
            self._encoder, tokens, policy.values if settings is None else settings, lexical
        )
        collected = Collected()
        planned = self._plan(active, policy)
        each_temperature = temperatures.unbind()
        heads: List[Optional[ExitHead]] = [*([] if lexical is None else [None]), *self._exits]
        for position, head in enumerate(heads):
            if planned is not None and position not in planned:
                continue  # no row is answered here
            exit = self._run_to(active, position, head, each_temperature[position])
            if position == len(heads) - 1:
                stops = [True] * len(active.positions)
            elif planned is None:
                stops = _decide(active, policy, exit)
            else:
                stops = [planned[row] == position for row in active.positions]
            _collect(collected, active, exit, stops)
            if all(stops):
                break
        return collected.answers()

    def _run_to(
        self, active: ActiveRows, position: int, head: Optional[ExitHead], temperature: Tensor
    ) -> _Exit:
        """Run the rows up to an exit; `head` is `None` for the lexical one, which needs no layer."""
        states: List[Tensor] = []
        if head is None:
            logits = active.lexical_logits
        else:
            active.inputs, read = self._advance(active.inputs, active.pooled, head)
            states = head.states(active.pooled, read)
            logits = active.mixed(position, head.logits(states))
        return _Exit(position, head, states, torch.softmax(logits / temperature, dim=-1))

    def _plan(self, active: ActiveRows, policy: ExitPolicy) -> Optional[List[int]]:
        """Return the exit of each row, if the policy knows it before the run."""
        signals = {}
        if DEPTH in policy.needs:
            assert self._depth is not None, "a policy is not bound to a model without its signals"
            signals = active.predict(self._depth(active.inputs))
        planned = policy.plan(len(active.positions), signals, active.settings)
        return None if planned is None else planned.tolist()

    def _advance(
        self, inputs: LayerInput, pooled: List[Tensor], head: ExitHead, share: float = 1.0
    ) -> Tuple[LayerInput, LayerInput]:
        """Run the layers up to an exit's, and append the pooled state of each to `pooled`.

        # Parameters

        share : `float`, optional (default = `1.0`)
            How much of the gradient of what exits read flows back into the layers.

        # Returns

        The input of the next layer, and the states of the exit's own layer as exits read them.
        """
        read = inputs
        for layer in range(len(pooled), head.layer + 1):
            inputs = self._encoder.run_layer(layer, inputs)
            read = self._encoder.read(scaled_gradient(inputs, share))
            pooled.append(self._pool(read))
        return inputs, read


def _decide(active: ActiveRows, policy: ExitPolicy, exit: _Exit) -> List[bool]:
    """Return which of the running rows stop at an exit."""
    certainty = exit.certainty if CERTAINTY in policy.needs else None
    decision = policy.decide(active.see(exit.probs, certainty), active.settings)
    if isinstance(decision, ndarray):
        return decision.tolist()
    return [decision] * len(active.positions)


def _collect(collected: Collected, active: ActiveRows, exit: _Exit, stops: List[bool]) -> None:
    """Move the rows that stop at an exit from the running rows to the answers."""
    if all(stops):
        collected.add(active.positions, exit.position, exit.probs)
    elif any(stops):
        leaving = [row for row, stop in enumerate(stops) if stop]
        positions = [active.positions[row] for row in leaving]
        collected.add(positions, exit.position, exit.probs[indices(leaving, exit.probs.device)])
        active.keep([row for row, stop in enumerate(stops) if not stop])
