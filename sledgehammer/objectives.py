"""How the exits learn: training objectives."""

import torch
from allennlp.common import Registrable
from torch import Tensor
from torch.nn.functional import cross_entropy


class ExitObjective(Registrable):
    """Turns the logits of all exits into one loss."""

    default_implementation = "joint"

    def loss(self, logits: Tensor, label: Tensor, training: bool) -> Tensor:
        """A scalar to minimise.

        # Parameters

        logits : `Tensor`
            Shape (rows, exits, labels), uncalibrated.
        label : `Tensor`
            Shape (rows,), long.
        training : `bool`
            False in a validation pass, whose loss must not depend on chance.
        """
        raise NotImplementedError


@ExitObjective.register("joint")
class JointObjective(ExitObjective):
    """The sum of the cross-entropies of all exits (Schwartz et al. 2020, section 3.3)."""

    def loss(self, logits: Tensor, label: Tensor, training: bool) -> Tensor:
        exits = logits.size(1)
        return exits * cross_entropy(logits.flatten(0, 1), label.repeat_interleave(exits))


@ExitObjective.register("random_exit")
class RandomExitObjective(JointObjective):
    """One exit, drawn anew for each batch, learns (the code of Schwartz et al. 2020).

    In validation the loss is that of `JointObjective`. For distributed training set
    `find_unused_parameters: true` in the `ddp_accelerator`: layers above the drawn exit get no
    gradient.
    """

    def loss(self, logits: Tensor, label: Tensor, training: bool) -> Tensor:
        if not training:
            return super().loss(logits, label, training)
        drawn = int(torch.randint(logits.size(1), ()))
        return cross_entropy(logits[:, drawn], label)
