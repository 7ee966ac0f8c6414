"""Run inference in another number format, with a copy of the encoder that is trained."""

import copy
from typing import Any, Callable, Dict, Optional

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.network.encoder import LayeredEncoder
from sledgehammer.network.families import TokenTensors
from sledgehammer.network.runner import Answers, GradientFlow, LayerwiseRunner, LexicalLogits
from sledgehammer.network.signals import AllExits
from sledgehammer.policies import ExitPolicy, RowSettings

DTYPES: Dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Number formats of inference, by name."""


def checked_dtype(name: Any) -> str:
    """Return `name`, if it is the name of a number format.

    # Raises

    `ConfigurationError` otherwise.
    """
    if not isinstance(name, str) or name not in DTYPES:
        raise ConfigurationError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")
    return name


class FormatRunner:
    """Run an encoder as it is in training mode, and in another number format otherwise.

    Only layers and embeddings are converted: the exits, their probabilities and the decisions
    are float32. Weights are converted once, at the first pass that needs them; whoever changes
    weights calls `forget`.

    # Parameters

    encoder : `LayeredEncoder`
        It is not changed.
    build : `Callable[[LayeredEncoder], LayerwiseRunner]`
        A function that makes a runner of an encoder.
    dtype : `str`, optional (default = `"float32"`)
        A name in `DTYPES`; with `"float32"` nothing is converted.

    # Raises

    `ConfigurationError` for an unknown name; in a pass, if the device cannot compute in the format.
    """

    def __init__(
        self,
        encoder: LayeredEncoder,
        build: Callable[[LayeredEncoder], LayerwiseRunner],
        dtype: str = "float32",
    ) -> None:
        self.dtype = checked_dtype(dtype)
        self._encoder = encoder
        self._build = build
        self._exact = build(encoder)
        self._converted: Optional[LayerwiseRunner] = None

    def run_all_exits(
        self, tokens: TokenTensors, gradients: GradientFlow = GradientFlow.ALL
    ) -> AllExits:
        """See `NetworkRunner`."""
        return self._current().run_all_exits(tokens, gradients)

    def run_until_answered(
        self,
        tokens: TokenTensors,
        temperatures: Tensor,
        policy: ExitPolicy,
        settings: Optional[RowSettings] = None,
        lexical: Optional[LexicalLogits] = None,
    ) -> Answers:
        """See `NetworkRunner`."""
        return self._current().run_until_answered(tokens, temperatures, policy, settings, lexical)

    def forget(self) -> None:
        """Convert anew in the next pass that needs it: weights, device or format have changed."""
        self._converted = None

    def _current(self) -> LayerwiseRunner:
        if self.dtype == "float32" or self._encoder.training:
            return self._exact
        if self._converted is None:
            self._converted = self._build(_converted(self._encoder, self.dtype))
        return self._converted


def _converted(encoder: LayeredEncoder, dtype: str) -> LayeredEncoder:
    copied = copy.deepcopy(encoder).requires_grad_(False).to(DTYPES[dtype])
    device = next(copied.parameters()).device
    token = torch.zeros(1, 1, dtype=torch.long, device=device)
    try:
        # Which operations exist in which format depends on the device and on torch's version.
        with torch.no_grad():
            first = copied.start({"input_ids": token, "attention_mask": token == 0})
            copied.pool_first(copied.read(copied.run_layer(0, first)))
    except RuntimeError as error:
        raise ConfigurationError(
            f"torch {torch.__version__} cannot run this model in {dtype} on {device}: {error}"
        ) from error
    return copied
