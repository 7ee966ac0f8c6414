"""Make the exit before the first layer a part of the model, whose weights carry it."""

from typing import Any, Dict, Optional, Sequence

import torch
from allennlp.common import FromParams
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.lexical import FeatureSpace, LexicalError, LinearModel, Pieces

_BUFFERS = ("table", "bias", "space")


class LexicalExit(torch.nn.Module, FromParams):
    """Answer before the first layer, with a linear model on n-grams of word pieces.

    It is fitted, with scikit-learn, when a training run begins, or by `allennlp lexical`. Its
    weights are buffers, so that weights and archives carry them; loading adopts what they hold.

    # Parameters

    ngrams : `int`, optional (default = `2`)
        The longest n-grams, from 1 to 8 word pieces.
    bits : `int`, optional (default = `20`)
        They are hashed into 2 to this power buckets, 8 to 24; a bucket has 2 bytes for each label
        and 2 more.
    min_rows : `int`, optional (default = `2`)
        A feature that fewer training rows have is left out.
    mix : `bool`, optional (default = `True`)
        Whether calibration fits how much of this exit's logits each other exit adds to its own.

    # Raises

    `ConfigurationError` for a value out of its range.
    """

    table: Tensor
    """See `LinearModel`; this and the others are empty before the fit."""

    bias: Tensor

    space: Tensor
    """Shape (3,): the texts of a row, the longest n-grams, the bits."""

    def __init__(
        self, ngrams: int = 2, bits: int = 20, min_rows: int = 2, mix: bool = True
    ) -> None:
        super().__init__()
        if not isinstance(min_rows, int) or isinstance(min_rows, bool) or min_rows < 1:
            raise ConfigurationError(f"lexical.min_rows must be at least 1, got {min_rows!r}")
        self._ngrams, self._bits = ngrams, bits
        self.min_rows = min_rows
        self.mix = mix
        self.space_for(texts=1)  # checks the values
        self.register_buffer("table", torch.zeros(0, dtype=torch.float16))
        self.register_buffer("bias", torch.zeros(0))
        self.register_buffer("space", torch.zeros(0, dtype=torch.long))
        self._linear: Optional[LinearModel] = None
        self._register_load_state_dict_pre_hook(self._adopt)

    @classmethod
    def of(cls, linear: LinearModel, mix: bool = True) -> "LexicalExit":
        """Return the exit of a model that is fitted already."""
        made = cls(linear.space.ngrams, linear.space.bits, mix=mix)
        made.linear = linear
        return made

    def space_for(self, texts: int) -> FeatureSpace:
        """Return the features that are looked at, in rows of so many texts.

        # Raises

        `ConfigurationError` for settings out of their range.
        """
        try:
            return FeatureSpace(texts, self._ngrams, self._bits)
        except ValueError as error:
            raise ConfigurationError(f"lexical.{error}") from error

    @property
    def is_fitted(self) -> bool:
        return len(self.table) > 0

    @property
    def linear(self) -> LinearModel:
        """Return the fitted model.

        # Raises

        `ConfigurationError` if there is none yet, or the weights are damaged.
        """
        if self._linear is None:
            if not self.is_fitted:
                raise ConfigurationError(
                    "the lexical exit has not been fitted: train with 'sledgehammer_calibration' "
                    "among trainer.callbacks"
                )
            try:
                self._linear = LinearModel(
                    FeatureSpace(*self.space.tolist()),
                    self.table.to("cpu", torch.float16).numpy(),
                    self.bias.to("cpu", torch.float32).numpy(),
                )
            except (LexicalError, ValueError, TypeError) as error:
                raise ConfigurationError(f"the lexical exit is damaged: {error}") from error
        return self._linear

    @linear.setter
    def linear(self, linear: LinearModel) -> None:
        device = self.table.device
        space = linear.space
        self.table = torch.from_numpy(linear.table).to(device)
        self.bias = torch.from_numpy(linear.bias).to(device)
        self.space = torch.tensor([space.texts, space.ngrams, space.bits], device=device)
        self._linear = linear

    def forget(self) -> None:
        """Drop what was fitted."""
        self._linear = None
        for name in _BUFFERS:
            setattr(self, name, getattr(self, name).new_empty(0))

    def logits(self, pieces: Optional[Sequence[Pieces]]) -> Tensor:
        """Return the uncalibrated logits of some rows: (rows, labels), on the exit's device.

        # Parameters

        pieces : `Sequence[Pieces]`
            Those of the whole texts (see `TransformerReader.pieces`).

        # Raises

        `ConfigurationError` if there are none, or the exit has not been fitted.
        """
        if pieces is None:
            raise ConfigurationError(
                "the lexical exit reads the word pieces of whole texts: give the dataset reader "
                '"lexical": true'
            )
        return torch.from_numpy(self.linear.logits(pieces)).to(self.bias.device)

    def _adopt(self, state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
        self._linear = None
        for name in _BUFFERS:
            buffer = getattr(self, name)
            stored = state_dict.setdefault(prefix + name, buffer)
            setattr(self, name, buffer.new_empty(stored.shape))
