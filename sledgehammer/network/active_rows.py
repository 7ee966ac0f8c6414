"""Hold the rows of a batch that still run, and the answers of those that have left."""

from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from sledgehammer.network.encoder import LayeredEncoder
from sledgehammer.network.families import LayerInput, TokenTensors
from sledgehammer.network.signals import CERTAINTY, DEPTH, beside_lexical
from sledgehammer.policies import Evidence, RowSettings


@dataclass
class Answers:
    """Hold one answer for each row.

    # Parameters

    exit : `Tensor`
        Shape (rows,), long: the position of the exit that answered.
    probs : `Tensor`
        Shape (rows, labels): its calibrated probabilities.
    """

    exit: Tensor
    probs: Tensor


class LexicalLogits(NamedTuple):
    """Hold what the exit before the first layer says, and how much of it each other exit adds.

    # Parameters

    logits : `Tensor`
        Shape (rows, labels), float32, uncalibrated.
    mixing : `Tensor`
        Shape (exits,): the multiple of them that is added to the logits of each exit; 0 for the
        lexical exit, which is the first.
    """

    logits: Tensor
    mixing: Tensor


class ActiveRows:
    """Hold the rows that still run, and all that belongs to them.

    What a policy looks at is kept on the host, so that at an exit only its probabilities have to
    come from the device.
    """

    def __init__(
        self,
        encoder: LayeredEncoder,
        tokens: TokenTensors,
        settings: RowSettings,
        lexical: Optional[LexicalLogits],
    ) -> None:
        self._encoder = encoder
        self._tokens = tokens
        self._inputs: Optional[LayerInput] = None
        self._lexical = lexical
        self.settings = settings
        self.pooled: List[Tensor] = []  # one a layer run: (rows, hidden)
        self.positions = list(range(len(tokens["attention_mask"])))  # in the whole batch
        self._probs: List[ndarray] = []  # on the host, one an exit passed: (rows, labels)
        self._certainty: List[ndarray] = []  # the same: (rows, 1)
        self._depth: Optional[ndarray] = None  # on the host: (rows, exits)
        self._lengths: List[int] = []  # real tokens; known from the first transfer on

    @property
    def inputs(self) -> LayerInput:
        """Return the input of the next layer; rows are embedded when it is first asked for."""
        if self._inputs is None:
            self._inputs = self._encoder.start(self._tokens)
        return self._inputs

    @inputs.setter
    def inputs(self, inputs: LayerInput) -> None:
        self._inputs = inputs

    @property
    def _mask(self) -> Tensor:
        return self._tokens["attention_mask"] if self._inputs is None else self._inputs.mask

    @property
    def lexical_logits(self) -> Tensor:
        """Return the logits of the exit before the first layer, if there is one: (rows, labels)."""
        assert self._lexical is not None, "there is no such exit"
        return self._lexical.logits

    def mixed(self, position: int, logits: Tensor) -> Tensor:
        """Add to an exit's logits its share of the lexical exit's, if there is one."""
        if self._lexical is None:
            return logits
        return logits + self._lexical.mixing[position] * self._lexical.logits

    def predict(self, depth: Tensor) -> Dict[str, ndarray]:
        """Bring the (rows, exits) predictions of the depth to the host."""
        if self._lexical is not None:
            depth = beside_lexical(depth)
        (self._depth,) = self.transfer([depth])
        return {DEPTH: self._depth}

    def see(self, probs: Tensor, certainty: Optional[Tensor]) -> Evidence:
        """Add what the next exit says, in one transfer; return all that the policy may look at.

        # Parameters

        probs : `Tensor`
            Shape (rows, labels).
        certainty : `Tensor`, optional
            Shape (rows,).
        """
        on_host = self.transfer([probs] if certainty is None else [probs, certainty[:, None]])
        self._probs.append(on_host[0])
        signals = {} if self._depth is None else {DEPTH: self._depth}
        if certainty is not None:
            self._certainty.append(on_host[1])
            signals[CERTAINTY] = np.concatenate(self._certainty, axis=1)
        return Evidence(list(self._probs), signals)

    def transfer(self, columns: List[Tensor]) -> List[ndarray]:
        """Bring tensors of `rows` rows to the host, and the lengths if they are not there yet."""
        lengths_too = len(self.positions) > 1 and not self._lengths
        if len(columns) == 1 and not lengths_too:
            return [_on_host(columns[0])]
        parts = list(columns)
        if lengths_too:
            parts.append(self._mask.sum(dim=1, keepdim=True).float())
        table = _on_host(torch.cat(parts, dim=1))
        if lengths_too:
            self._lengths = table[:, -1].astype(int).tolist()
        ends = np.cumsum([column.size(1) for column in columns])
        return np.split(table, ends, axis=1)[: len(columns)]

    def keep(self, staying: List[int]) -> None:
        """Go on with some of the rows, and without the columns that only the others needed."""
        if not self._lengths:
            self.transfer([self._mask[:, :0].float()])
        self.positions = [self.positions[i] for i in staying]
        self._lengths = [self._lengths[i] for i in staying]
        rows, longest = indices(staying, self._mask.device), max(self._lengths)
        if self._inputs is None:
            self._tokens = {
                name: tensor[:, :longest].index_select(0, rows)
                for name, tensor in self._tokens.items()
            }
        else:
            self._inputs = self._encoder.narrow(self._inputs, rows, longest)
        if self._lexical is not None:
            self._lexical = self._lexical._replace(logits=self._lexical.logits[rows])
        self.pooled = [state[rows] for state in self.pooled]
        self._probs = [probs[staying] for probs in self._probs]
        self._certainty = [certainty[staying] for certainty in self._certainty]
        self._depth = None if self._depth is None else self._depth[staying]
        self.settings = self.settings.of(staying)


class Collected:
    """Collect the answers, in the order in which rows leave."""

    def __init__(self) -> None:
        self._positions: List[int] = []
        self._exits: List[int] = []
        self._probs: List[Tensor] = []

    def add(self, positions: List[int], exit_number: int, probs: Tensor) -> None:
        self._positions += positions
        self._exits += [exit_number] * len(positions)
        self._probs.append(probs)

    def answers(self) -> Answers:
        """Return all answers, in the order of the whole batch."""
        device = self._probs[0].device
        if len(self._probs) == 1:  # all rows left together, in their order
            return Answers(
                torch.full((len(self._exits),), self._exits[0], device=device), self._probs[0]
            )
        back = sorted(range(len(self._positions)), key=self._positions.__getitem__)
        exits = indices([self._exits[i] for i in back], device)
        return Answers(exits, torch.cat(self._probs)[indices(back, device)])


def indices(numbers: List[int], device: torch.device) -> Tensor:
    """Return numbers as a tensor on a device: (numbers,), long."""
    tensor = torch.tensor(numbers)
    # Unlike one that blocks, this copy does not wait for what the device still has to do.
    return tensor if device.type == "cpu" else tensor.to(device, non_blocking=True)


def _on_host(tensor: Tensor) -> ndarray:
    # Microseconds, but between layers of a thousand.
    return (tensor.detach() if tensor.requires_grad else tensor).cpu().numpy()
