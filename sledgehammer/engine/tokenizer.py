"""Texts into word pieces, as the archive's own reader makes them."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Union

import numpy as np
from numpy import ndarray

from sledgehammer.engine.manifest import EngineError
from sledgehammer.support.jsonl import is_text

Text = Union[str, Sequence[str]]
"""A text, or the two of a pair."""


class Encoded(NamedTuple):
    """The word pieces of one row: lists of one length."""

    ids: List[int]
    type_ids: List[int]


class Tokenizer:
    """Tokenises with the transformer's own fast tokenizer.

    # Parameters

    file : `Path`
        Its `tokenizer.json`.
    max_length : `int`
        Longer texts are truncated, pairs longest first.
    inputs : `Sequence[str]`
        The names of the arrays to make.
    pad_token_id : `int`
    texts : `int`
        How many a row has: 1, or 2 for pairs.

    # Raises

    `EngineError` if the file is no tokenizer.
    """

    def __init__(
        self, file: Path, max_length: int, inputs: Sequence[str], pad_token_id: int, texts: int
    ) -> None:
        import tokenizers

        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing more special
            raise EngineError(f"{file} is no tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length, strategy="longest_first")
        # The offsets of the pieces in the text, which newer versions can leave out, are not used.
        fast = getattr(self._tokenizer, "encode_batch_fast", None)
        self._encode_batch = fast or self._tokenizer.encode_batch
        self._inputs = list(inputs)
        self._pad_token_id = pad_token_id
        self._texts = texts

    def encode(self, texts: Sequence[Text]) -> List[Encoded]:
        """The word pieces of some rows.

        # Raises

        `EngineError` for what is no text, or no pair where pairs are needed.
        """
        rows = [self.checked(text, number) for number, text in enumerate(texts)]
        if len(rows) == 1:  # a thread pool for one text costs more than it gives
            single = rows[0] if isinstance(rows[0], tuple) else (rows[0],)
            encodings = [self._tokenizer.encode(*single)]
        else:
            encodings = self._encode_batch(rows)
        return [Encoded(encoding.ids, encoding.type_ids) for encoding in encodings]

    def checked(self, text: Text, number: int) -> Any:
        """A text as the tokenizer takes it: a string or a tuple of two.

        # Parameters

        number : `int`
            Names the text in errors.

        # Raises

        `EngineError` for what is no text, or no pair where pairs are needed.
        """
        parts = tuple(text) if isinstance(text, (list, tuple)) else (text,)
        if len(parts) != self._texts or not all(isinstance(part, str) for part in parts):
            wanted = "a string" if self._texts == 1 else "a pair of strings"
            raise EngineError(f"text {number} must be {wanted}, got {text!r:.80}")
        if not all(map(is_text, parts)):
            raise EngineError(f"text {number} has a lone surrogate, which is no text")
        return parts[0] if self._texts == 1 else parts

    def batch(self, rows: Sequence[Encoded]) -> Dict[str, ndarray]:
        """Arrays of shape (rows, tokens), int64, padded on the right."""
        longest = max(len(row.ids) for row in rows)
        arrays = {
            name: np.full(
                (len(rows), longest), self._pad_token_id if name == "input_ids" else 0, np.int64
            )
            for name in self._inputs
        }
        for i, row in enumerate(rows):
            values: Dict[str, Any] = {
                "input_ids": row.ids, "attention_mask": 1, "token_type_ids": row.type_ids
            }  # fmt: skip
            for name, array in arrays.items():
                array[i, : len(row.ids)] = values[name]
        return arrays
