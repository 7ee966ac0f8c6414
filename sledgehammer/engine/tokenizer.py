"""Texts into word pieces, as the archive's own reader makes them."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
from numpy import ndarray

from sledgehammer.engine.manifest import EngineError
from sledgehammer.support.jsonl import is_text

Text = Union[str, Sequence[str]]
"""A text, or the two of a pair."""

CHARACTERS_PER_PIECE = 128
"""Of a text, `max_length` times as many characters are tokenised at most.

No word piece of the supported transformers is longer: WordPiece refuses words of more than 100
characters, the longest entry of RoBERTa's vocabulary has 128. So the rest of the text could only
matter if most of what comes before it makes no pieces at all, such as tens of thousands of spaces.
"""


class Encoded(NamedTuple):
    """The word pieces of one row: two lists of one length, and whether there were more."""

    ids: List[int]
    type_ids: List[int]
    truncated: bool = False


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
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing more special
            raise EngineError(f"{file} is no tokenizer: {error}") from error
        self._pieces = Pieces(tokenizer, max_length)
        self._inputs = list(inputs)
        self._pad_token_id = pad_token_id
        self._texts = texts

    def encode(self, texts: Sequence[Text]) -> List[Encoded]:
        """The word pieces of some rows.

        # Raises

        `EngineError` for what is no text, or no pair where pairs are needed.
        """
        rows = [self.checked(text, number) for number, text in enumerate(texts)]
        return self._pieces.encode([row if isinstance(row, tuple) else (row,) for row in rows])

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


class Pieces:
    """Makes word pieces with a tokenizer of the library `tokenizers`, and truncates them.

    The library's own truncation keeps all that it cuts off: of a pair of texts with n pieces
    each, n squared of them. Two texts of 16,000 characters took 5 GB.

    # Parameters

    tokenizer : `tokenizers.Tokenizer`
        Its truncation and padding are switched off.
    max_length : `int`
        Word pieces of a row, special tokens included.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        # The offsets of the pieces in the text, which newer versions can leave out, are not used.
        fast = getattr(tokenizer, "encode_batch_fast", None)
        self._encode_batch = fast or tokenizer.encode_batch
        self._max_length = max_length

    def encode(self, rows: Sequence[Sequence[str]]) -> List[Encoded]:
        """Return the word pieces of some rows of one text, or of two."""
        characters = self._max_length * CHARACTERS_PER_PIECE
        inputs = [tuple(text[:characters] for text in row) for row in rows]
        if len(inputs) == 1:  # a thread pool for one text costs more than it gives
            encodings = [self._tokenizer.encode(*inputs[0])]
        else:
            singles = all(len(texts) == 1 for texts in inputs)
            encodings = self._encode_batch([texts[0] for texts in inputs] if singles else inputs)
        return [
            self._truncated(encoding, any(len(text) > characters for text in row))
            for encoding, row in zip(encodings, rows)
        ]

    def _truncated(self, encoding: Any, is_cut: bool) -> Encoded:
        ids, type_ids = encoding.ids, encoding.type_ids
        excess = len(ids) - self._max_length
        if excess <= 0:
            return Encoded(ids, type_ids, is_cut)
        text_of = encoding.sequence_ids  # None for special tokens
        first, second = text_of.count(0), text_of.count(1)
        room = self._max_length - (len(ids) - first - second)
        left = list(longest_first(first, second, room))
        kept = []
        for position, text in enumerate(text_of):
            if text is not None:
                left[text] -= 1
                if left[text] < 0:
                    continue
            kept.append(position)
        return Encoded([ids[i] for i in kept], [type_ids[i] for i in kept], True)


def longest_first(first: int, second: int, room: int) -> Tuple[int, int]:
    """Return how many pieces of two texts fit into `room`, cutting the longer one first.

    Where both are cut, the longer one has the odd piece; the second, if they are as long. So it is
    in the library `tokenizers`, on which training relied.
    """
    shorter = min(first, second)
    if shorter <= room // 2:
        longer = min(max(first, second), room - shorter)
    else:
        shorter, longer = room // 2, room - room // 2
    return (longer, shorter) if first > second else (shorter, longer)
