"""Compute signals, with which small heads beside the exits tell a policy when to stop.

The heads learn along with the model, but no gradient flows back from them, so that the exits are
the same as without them.
"""

from typing import Any, Dict, List, NamedTuple, Union

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.network.encoder import mean_pool
from sledgehammer.network.families import LayerInput

CERTAINTY, DEPTH = "certainty", "depth"
SIGNALS = (CERTAINTY, DEPTH)

_TINY = 1e-6


class AllExits(NamedTuple):
    """Hold what a model says when all exits run.

    # Parameters

    logits : `Tensor`
        Shape (rows, exits, labels), uncalibrated.
    signals : `Dict[str, Tensor]`
        The signals that the model has: `certainty`, shape (rows, exits), in [0, 1]: how sure each
        exit is that it is right; `depth`, shape (rows, exits), a distribution over the exits:
        which of them is the first to be right.
    """

    logits: Tensor
    signals: Dict[str, Tensor]

    def of_rows(self, rows: Union[Tensor, slice]) -> "AllExits":
        """Return what the model says about some of the rows."""
        signals = {name: values[rows] for name, values in self.signals.items()}
        return AllExits(self.logits[rows], signals)


class DepthHead(torch.nn.Module):
    """Predict, from the embeddings, which exit is the first to be right.

    Source: Elbayad et al., "Depth-Adaptive Transformer", ICLR 2020, section 3.2.1, "multinomial".
    There the input is the encoder's mean output; here it is that of the embedding layer, so that
    the prediction is known before any layer runs.

    # Parameters

    hidden_size, exits : `int`
    """

    def __init__(self, hidden_size: int, exits: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(hidden_size, exits)

    def forward(self, embedded: LayerInput) -> Tensor:
        """Return a distribution over the exits, (rows, exits), from the input of layer 0."""
        pooled = mean_pool(embedded).detach().to(self.linear.weight.dtype)
        return torch.softmax(self.linear(pooled).float(), dim=-1)


def checked_signals(names: Any) -> List[str]:
    """Return `names` as a list.

    # Raises

    `ConfigurationError` if one of them is not the name of a signal.
    """
    if not isinstance(names, (list, tuple)) or not set(names) <= set(SIGNALS):
        raise ConfigurationError(
            f"signals must be a list of {' and '.join(SIGNALS)}, got {names!r}"
        )
    return list(names)


def signal_loss(outputs: AllExits, label: Tensor) -> Tensor:
    """Return the loss from which the heads of the signals learn.

    `certainty` learns the probability that its exit is right (Elbayad et al. 2020, section 3.2.1,
    "geometric-like", with right answers instead of likelihoods; Xin et al., "BERxiT", EACL 2021,
    section 3.3, with a squared loss). `depth` learns the earliest right exit, or the first exit if
    none is right, because more layers would not help.

    # Parameters

    label : `Tensor`
        Shape (rows,), all known.

    # Returns

    A scalar, 0 without signals or rows.
    """
    correct = outputs.logits.argmax(dim=-1) == label[:, None]
    loss = outputs.logits.new_zeros(())
    if not len(label):
        return loss
    if CERTAINTY in outputs.signals:
        certainty = outputs.signals[CERTAINTY].clamp(_TINY, 1 - _TINY)
        loss = loss - torch.where(correct, certainty, 1 - certainty).log().mean()
    if DEPTH in outputs.signals:
        first_right = correct.long().argmax(dim=1)  # 0 if no exit is right
        likelihood = outputs.signals[DEPTH].gather(1, first_right[:, None])
        loss = loss - likelihood.clamp(min=_TINY).log().mean()
    return loss


def beside_lexical(depth: Tensor) -> Tensor:
    """Give (rows, exits) predictions of the depth a first column, of 0, for the lexical exit."""
    return torch.nn.functional.pad(depth, (1, 0))
