"""What small heads beside the exits say about when to stop: signals for policies that learn.

They learn along with the model, on states from which no gradient flows back, so that the exits are
what they would be without them.
"""

from typing import Any, Dict, List, NamedTuple, Union

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.network.encoder import LayerInput, mean_pool

CERTAINTY, DEPTH = "certainty", "depth"
SIGNALS = (CERTAINTY, DEPTH)

_TINY = 1e-6


class AllExits(NamedTuple):
    """What a model says when all exits run.

    # Parameters

    logits : `Tensor`
        Shape (rows, exits, labels), uncalibrated.
    signals : `Dict[str, Tensor]`
        Those that the model has: `certainty`, shape (rows, exits), in [0, 1]: how sure each exit is
        to be right; `depth`, shape (rows, exits), a distribution over the exits: which of them is
        the first to be right.
    """

    logits: Tensor
    signals: Dict[str, Tensor]


class DepthHead(torch.nn.Module):
    """Predicts from the embeddings which exit is the first to be right (Elbayad et al., "Depth-Adaptive
    Transformer", ICLR 2020, section 3.2.1, "multinomial"; there a linear map of the encoder's mean
    output, here of the embedding layer's, so that it is known before any layer runs).

    # Parameters

    hidden_size, exits : `int`
    """

    def __init__(self, hidden_size: int, exits: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(hidden_size, exits)

    def forward(self, embedded: LayerInput) -> Tensor:
        """The input of layer 0 -> (rows, exits), a distribution over the exits."""
        pooled = mean_pool(embedded).detach().to(self.linear.weight.dtype)
        return torch.softmax(self.linear(pooled).float(), dim=-1)


def checked_signals(names: Any) -> List[str]:
    """`names`, if they are those of signals.

    # Raises

    `ConfigurationError` otherwise.
    """
    if not isinstance(names, (list, tuple)) or not set(names) <= set(SIGNALS):
        raise ConfigurationError(
            f"signals must be a list of {' and '.join(SIGNALS)}, got {names!r}"
        )
    return list(names)


def signal_loss(found: AllExits, label: Tensor) -> Tensor:
    """What the heads of the signals have to learn from.

    `certainty` learns, as a probability, whether its exit is right (Elbayad et al. 2020, section
    3.2.1, "geometric-like", with right answers in the place of likelihoods; Xin et al., "BERxiT",
    EACL 2021, section 3.3, with a squared loss). `depth` learns the earliest right exit, or the
    first one where none is right: more layers would be of no use.

    # Parameters

    label : `Tensor`
        Shape (rows,), all known.

    # Returns

    A scalar, 0 without signals or rows.
    """
    correct = found.logits.argmax(dim=-1) == label[:, None]
    loss = found.logits.new_zeros(())
    if not len(label):
        return loss
    if CERTAINTY in found.signals:
        chance = found.signals[CERTAINTY].clamp(_TINY, 1 - _TINY)
        loss = loss - torch.where(correct, chance, 1 - chance).log().mean()
    if DEPTH in found.signals:
        oracle = correct.long().argmax(dim=1)
        chosen = found.signals[DEPTH].gather(1, oracle[:, None])
        loss = loss - chosen.clamp(min=_TINY).log().mean()
    return loss


def rows_of(found: AllExits, rows: Union[Tensor, slice]) -> AllExits:
    """Only some rows."""
    return AllExits(found.logits[rows], {n: values[rows] for n, values in found.signals.items()})
