"""Turn texts into word pieces, exactly as the archive's own reader does."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
from numpy import ndarray

from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.manifest_checks import LONG_TEXTS
from sledgehammer.support.jsonl import is_text

Text = Union[str, Sequence[str]]
"""A text, or the two of a pair."""

CHARACTERS_PER_PIECE = 128
"""At most `max_length` times as many characters of a text are tokenised.

No word piece of the supported transformers is longer: WordPiece refuses words of more than 100
characters, and the longest entry of RoBERTa's vocabulary has 128. So the rest of the text could
only matter if most of what comes before it makes no pieces at all, such as tens of thousands of
spaces.
"""


HEAD_OF_LONG_TEXT = 128 / 510
"""The share of the pieces kept by `head_tail` that come from the beginning: Sun et al., "How to
Fine-Tune BERT for Text Classification?", 2019, keep the first 128 and the last 382 of a review."""

WHOLE_TEXT = 1 << 17
"""The least characters of a whole text that are tokenised, some 25,000 words."""


class Encoded(NamedTuple):
    """Hold the word pieces of a row.

    # Parameters

    ids, type_ids : `List[int]`
        The pieces and their token types, one for each piece.
    truncated : `bool`
        Whether pieces were cut off.
    texts : `List[List[int]]`
        The pieces of each whole text, without special tokens; empty unless they were asked for.
    """

    ids: List[int]
    type_ids: List[int]
    truncated: bool = False
    texts: List[List[int]] = []


class Tokenizer:
    """Tokenise with the transformer's own fast tokenizer.

    # Parameters

    file : `Path`
        Its `tokenizer.json`.
    max_length : `int`
        The most word pieces of a row, special tokens included. Longer texts are truncated; of a
        pair, the longer text first.
    inputs : `Sequence[str]`
        The names of the arrays to make.
    pad_token_id : `int`
    texts : `int`
        How many texts a row has: 1, or 2 for pairs.
    whole : `bool`, optional (default = `False`)
        Whether the word pieces of whole texts are wanted too.
    long_texts : `str`, optional (default = `"truncate"`)
        One of `LONG_TEXTS`: see `TruncatingTokenizer`.

    # Raises

    `EngineError` if the file is not a tokenizer.
    """

    def __init__(
        self,
        file: Path,
        max_length: int,
        inputs: Sequence[str],
        pad_token_id: int,
        texts: int,
        whole: bool = False,
        long_texts: str = LONG_TEXTS[0],
    ) -> None:
        import tokenizers

        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing more special
            raise EngineError(f"{file} is not a tokenizer: {error}") from error
        self._tokenizer = TruncatingTokenizer(tokenizer, max_length, long_texts)
        self._inputs = list(inputs)
        self._pad_token_id = pad_token_id
        self._texts = texts
        self._whole = whole

    def encode(self, texts: Sequence[Text]) -> List[Encoded]:
        """Return the word pieces of each row.

        # Raises

        `EngineError` for a row that is not a text, or not a pair if the model takes pairs.
        """
        rows = [self.checked(text, number) for number, text in enumerate(texts)]
        pairs = [row if isinstance(row, tuple) else (row,) for row in rows]
        return self._tokenizer.encode(pairs, self._whole)

    def checked(self, text: Text, number: int) -> Any:
        """Return a text as the tokenizer takes it: a string, or a tuple of two.

        # Parameters

        number : `int`
            What errors call the text.

        # Raises

        `EngineError` if it is not a text, or not a pair if the model takes pairs.
        """
        parts = tuple(text) if isinstance(text, (list, tuple)) else (text,)
        if len(parts) != self._texts or not all(isinstance(part, str) for part in parts):
            expected = "a string" if self._texts == 1 else "a pair of strings"
            raise EngineError(f"text {number} must be {expected}, got {text!r:.80}")
        if not all(map(is_text, parts)):
            raise EngineError(f"text {number} has a lone surrogate, which is not valid text")
        return parts[0] if self._texts == 1 else parts

    def vocabulary(self) -> Dict[str, int]:
        """Return the number of each word piece."""
        return self._tokenizer.vocabulary()

    @property
    def pad_token_id(self) -> int:
        return self._pad_token_id

    def batch(self, rows: Sequence[Encoded]) -> Dict[str, ndarray]:
        """Return the model's input for some rows; see `padded`."""
        return padded(rows, self._inputs, self._pad_token_id)


def padded(rows: Sequence[Encoded], names: Sequence[str], pad_token_id: int) -> Dict[str, ndarray]:
    """Return a batch of rows, padded on the right to the longest of them.

    # Parameters

    names : `Sequence[str]`
        The arrays to make, of `input_ids`, `attention_mask` and `token_type_ids`.
    pad_token_id : `int`
        What pads `input_ids`; the others are padded with 0.

    # Returns

    An array of shape (rows, tokens), int64, for each name.
    """
    if len(rows) == 1:  # a text alone has no padding, and waits for each microsecond
        return _unpadded(rows[0], names)
    shape = (len(rows), max(len(row.ids) for row in rows))
    arrays = {
        name: np.full(shape, pad_token_id if name == "input_ids" else 0, np.int64) for name in names
    }
    for i, row in enumerate(rows):
        values: Dict[str, Any] = {
            "input_ids": row.ids, "attention_mask": 1, "token_type_ids": row.type_ids
        }  # fmt: skip
        for name, array in arrays.items():
            array[i, : len(row.ids)] = values[name]
    return arrays


def _unpadded(row: Encoded, names: Sequence[str]) -> Dict[str, ndarray]:
    values = {
        "input_ids": row.ids, "attention_mask": [1] * len(row.ids), "token_type_ids": row.type_ids
    }  # fmt: skip
    return {name: np.array([values[name]], np.int64) for name in names}


class TruncatingTokenizer:
    """Make word pieces with a tokenizer of the library `tokenizers`, and truncate them.

    The library's own truncation keeps everything that it cuts off; for a pair of texts with n
    pieces each, that is n squared pieces. Two texts of 16,000 characters took 5 GB.

    # Parameters

    tokenizer : `tokenizers.Tokenizer`
        Its truncation and padding are switched off.
    max_length : `int`
        The most word pieces of a row, special tokens included.
    long_texts : `str`, optional (default = `"truncate"`)
        What is kept of a text with more pieces than there is room for: `"truncate"` keeps its
        first pieces; `"head_tail"` the first quarter of the room from its beginning and the rest
        from its end (see `HEAD_OF_LONG_TEXT`). How much room each text of a pair has does not
        depend on it.
    """

    def __init__(self, tokenizer: Any, max_length: int, long_texts: str = LONG_TEXTS[0]) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        # Newer versions can leave out the offsets of the pieces in the text: nobody uses them.
        without_offsets = getattr(tokenizer, "encode_batch_fast", None)
        self._encode_batch = without_offsets or tokenizer.encode_batch
        self._max_length = max_length
        self._keeps_ends = long_texts == "head_tail"

    def vocabulary(self) -> Dict[str, int]:
        """Return the number of each word piece."""
        vocabulary: Dict[str, int] = self._tokenizer.get_vocab()
        return vocabulary

    def encode(self, rows: Sequence[Sequence[str]], whole: bool = False) -> List[Encoded]:
        """Return the word pieces of rows, each of one text or two.

        # Parameters

        whole : `bool`, optional (default = `False`)
            Whether the pieces of whole texts are wanted too.
        """
        characters = self._max_length * CHARACTERS_PER_PIECE
        if whole:
            characters = max(characters, WHOLE_TEXT)
        inputs = [tuple(self._cut(text, characters) for text in row) for row in rows]
        if len(inputs) == 1:  # for one text, starting a thread pool costs more than it saves
            encodings = [self._tokenizer.encode(*inputs[0])]
        else:
            singles = all(len(texts) == 1 for texts in inputs)
            encodings = self._encode_batch([texts[0] for texts in inputs] if singles else inputs)
        encoded = [
            self._truncated(encoding, any(len(cut) < len(text) for cut, text in zip(given, row)))
            for encoding, given, row in zip(encodings, inputs, rows)
        ]
        if not whole:
            return encoded
        return [
            row._replace(texts=_texts_of(encoding, len(texts)))
            for row, encoding, texts in zip(encoded, encodings, rows)
        ]

    def _cut(self, text: str, characters: int) -> str:
        """Return what can matter of a text: so many characters, of each end if ends are kept."""
        if self._keeps_ends and len(text) > 2 * characters:
            return f"{text[:characters]} {text[-characters:]}"
        return text if self._keeps_ends else text[:characters]

    def _truncated(self, encoding: Any, characters_were_cut: bool) -> Encoded:
        ids, type_ids = encoding.ids, encoding.type_ids
        if len(ids) <= self._max_length:
            return Encoded(ids, type_ids, characters_were_cut)
        text_of_piece = encoding.sequence_ids  # 0, 1, or None for special tokens
        first, second = text_of_piece.count(0), text_of_piece.count(1)
        room = self._max_length - (len(ids) - first - second)
        rooms = longest_first(first, second, room)
        kept_of_text = [
            iter(self._kept(count, kept)) for count, kept in zip((first, second), rooms)
        ]
        kept = [
            position
            for position, text in enumerate(text_of_piece)
            if text is None or next(kept_of_text[text])
        ]
        return Encoded([ids[i] for i in kept], [type_ids[i] for i in kept], True)

    def _kept(self, pieces: int, room: int) -> List[bool]:
        """Return which pieces of a text are kept, in order."""
        head = room
        if self._keeps_ends and pieces > room:
            head = round(room * HEAD_OF_LONG_TEXT)
        kept = [True] * head + [False] * (pieces - room) + [True] * (room - head)
        return kept[:pieces]


def _texts_of(encoding: Any, texts: int) -> List[List[int]]:
    """Return the word pieces of each text of a row."""
    ids, text_of_piece = encoding.ids, encoding.sequence_ids  # None for special tokens
    pieces_of_texts = []
    for text in range(texts):
        count = text_of_piece.count(text)
        first = text_of_piece.index(text) if count else 0
        pieces_of_texts.append(ids[first : first + count])
    return pieces_of_texts


def longest_first(first: int, second: int, room: int) -> Tuple[int, int]:
    """Return how many pieces of two texts are kept in `room`, cutting the longer text first.

    If both are cut and the room is odd, the longer text keeps the extra piece, or the second one
    if they are equally long. The library `tokenizers` does the same, and models were trained so.
    """
    shorter = min(first, second)
    if shorter <= room // 2:
        longer = min(max(first, second), room - shorter)
    else:
        shorter, longer = room // 2, room - room // 2
    return (longer, shorter) if first > second else (shorter, longer)
