"""What all dataset readers share: rows in, tokenised instances out."""

import logging
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Instance
from allennlp.data.fields import Field, LabelField, MetadataField, TransformerTextField
from torch import Tensor

from sledgehammer.dataset_readers.holdout import PARTS, held_out, split_path
from sledgehammer.engine.tokenizer import Encoded, Pieces
from sledgehammer.network import pretrained

logger = logging.getLogger(__name__)

TOKENISED_TOGETHER = 256
"""Rows that are given to the tokenizer at a time: it is several times faster than one by one."""


class Row(NamedTuple):
    """A row of a dataset: one text, or the two of a pair, and the label if it is known."""

    texts: List[str]
    label: Optional[str]
    metadata: Optional[Dict[str, Any]] = None


class RowInstance(Instance):
    """An instance that knows whether its texts were longer than `max_length`."""

    truncated = False


class TransformerReader(DatasetReader):
    """Reads rows and tokenises them with the transformer's own tokenizer.

    A data path is a file or folder, an http(s) URL or `archive!member`; with `#train` or
    `#validation` at its end it names a part of the rows (see `validation_size`).

    # Parameters

    model_name : `str`, optional
        Hub name, local folder or `package:NAME/PATH` of the transformer; the model takes it from
        here. An archive brings its own tokenizer.
    max_length : `int`, optional (default = `512`)
        Word pieces, special tokens included. Longer texts are truncated, pairs longest first.
    validation_size : `int`, optional
        How many rows of a file `#validation` holds out; `#train` is the others.
    """

    fields: List[str] = []
    """The names under which `text_to_instance`, and so a JSON line, takes the texts."""

    def __init__(
        self,
        model_name: Optional[str] = None,
        max_length: int = 512,
        validation_size: Optional[int] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            manual_distributed_sharding=True, manual_multiprocess_sharding=True, **kwargs
        )
        self._tokenizer = pretrained.load_tokenizer(model_name, self.serialization_dir)
        # The special tokens of a pair and a word piece for each text must fit.
        if not isinstance(max_length, int) or max_length < 8:
            raise ConfigurationError(f"max_length must be a whole number >= 8, got {max_length!r}")
        limit = self._tokenizer.model_max_length
        if max_length > limit:
            raise ConfigurationError(
                f"max_length is {max_length}, but the transformer takes at most {limit}"
            )
        self.max_length = max_length
        self._pieces = Pieces(self._tokenizer.backend_tokenizer, max_length)
        self._validation_size = validation_size

    def rows(self, path: str) -> Iterable[Row]:
        """All rows at `path` (without its part), in an order that is always the same."""
        raise NotImplementedError

    def selected_rows(self, file_path: str) -> Iterable[Row]:
        """The rows that `read` makes instances of, in its order, all `max_instances` aside."""
        path, part = split_path(str(file_path))
        rows = self.rows(path)
        return self._select(list(rows), path, part) if part else rows

    def instances(self, rows: Sequence[Row]) -> List[Instance]:
        """An instance of each row; the rows are tokenised together."""
        made: List[Instance] = []
        for encoded, row in zip(self._encode([row.texts for row in rows]), rows):
            instance = self._made(self._named(encoded), row)
            instance.truncated = encoded.truncated
            made.append(instance)
        return made

    def save_tokenizer(self, file: Path) -> None:
        """Write the tokenizer as the library `tokenizers` reads it."""
        self._tokenizer.backend_tokenizer.save(str(file))

    @property
    def pad_token_id(self) -> int:
        return self._tokenizer.pad_token_id

    def encode(self, rows: Sequence[Sequence[str]]) -> List[Dict[str, List[int]]]:
        """The word pieces of some rows of texts: `input_ids` and maybe `token_type_ids`."""
        return [self._named(encoded) for encoded in self._encode(rows)]

    def _encode(self, rows: Sequence[Sequence[str]]) -> List[Encoded]:
        return self._pieces.encode(rows) if rows else []

    def _named(self, encoded: Encoded) -> Dict[str, List[int]]:
        named = {"input_ids": encoded.ids, "token_type_ids": encoded.type_ids}
        return {n: pieces for n, pieces in named.items() if n in self._tokenizer.model_input_names}

    def pieces(self, rows: Sequence[Sequence[str]]) -> List[List[List[int]]]:
        """Return the word pieces of the whole texts of some rows, without special tokens.

        This is what the lexical exit reads: nothing is cut off at `max_length`.
        """
        if not rows:
            return []
        each_text = [
            self._tokenizer(
                list(texts),
                add_special_tokens=False,
                truncation=False,
                return_attention_mask=False,
                verbose=False,  # or it says that the transformer takes no text so long
            )["input_ids"]
            for texts in zip(*rows)
        ]
        return [list(texts) for texts in zip(*each_text)]

    def tensors(self, encoded: Sequence[Dict[str, List[int]]]) -> Dict[str, Tensor]:
        """A batch of what `encode` gives, as the model takes it; each of shape (rows, tokens)."""
        longest = max(len(row["input_ids"]) for row in encoded)
        padding = {"input_ids": self.pad_token_id, "token_type_ids": 0, "attention_mask": 0}
        made = {
            name: np.full((len(encoded), longest), padding[name], np.int64)
            for name in (*encoded[0], "attention_mask")
        }
        for i, row in enumerate(encoded):
            for name, pieces in row.items():
                made[name][i, : len(pieces)] = pieces
            made["attention_mask"][i, : len(row["input_ids"])] = 1
        return {name: torch.from_numpy(array) for name, array in made.items()}

    def _read(self, file_path: str) -> Iterator[Instance]:
        rows = iter(self.shard_iterable(self.selected_rows(file_path)))
        while block := list(islice(rows, TOKENISED_TOGETHER)):
            yield from self.instances(block)

    def _select(self, rows: List[Row], path: str, part: str) -> List[Row]:
        if self._validation_size is None:
            raise ConfigurationError(
                f"{path}#{part} names a part of the rows: give the dataset reader a "
                f"validation_size, or the path without #{part}"
            )
        chosen = held_out(["\n".join(row.texts) for row in rows], self._validation_size)
        wants_held_out = part == PARTS[1]
        return [row for i, row in enumerate(rows) if (i in chosen) == wants_held_out]

    def _instance(
        self,
        texts: List[str],
        label: Optional[str],
        metadata: Optional[Dict[str, Any]] = None,
    ) -> Instance:
        return self.instances([Row(texts, label, metadata)])[0]

    def _made(self, pieces: Dict[str, List[int]], row: Row) -> RowInstance:
        fields: Dict[str, Field] = {
            "tokens": TransformerTextField(
                input_ids=pieces["input_ids"],
                token_type_ids=pieces.get("token_type_ids"),
                padding_token_id=self._tokenizer.pad_token_id,
            )
        }
        if row.label is not None:
            fields["label"] = LabelField(row.label)
        if row.metadata is not None:
            fields["metadata"] = MetadataField(row.metadata)
        return RowInstance(fields)


class SingleTextReader(TransformerReader):
    """Base of the readers whose rows are one text."""

    fields = ["text"]

    def text_to_instance(self, text: str, label: Optional[str] = None) -> Instance:
        """An instance of `tokens` and, if it is known, `label`."""
        return self._instance([text], label)


class TextPairReader(TransformerReader):
    """Base of the readers whose rows are a premise and a hypothesis."""

    fields = ["premise", "hypothesis"]

    def text_to_instance(
        self, premise: str, hypothesis: str, label: Optional[str] = None
    ) -> Instance:
        """An instance of `tokens` (both texts) and, if it is known, `label`."""
        return self._instance([premise, hypothesis], label)


def token_batches(
    reader: TransformerReader, rows: Sequence[Row], batch_size: int
) -> Iterator[Tuple[Dict[str, Tensor], Tensor]]:
    """The model's input for rows of about the same length, longest first.

    # Returns

    The batches: their tokens, each tensor of shape (rows, tokens), on the CPU; and the
    positions of their rows.
    """
    encoded = reader.encode([row.texts for row in rows])
    lengths = torch.tensor([len(row["input_ids"]) for row in encoded])
    order = torch.sort(lengths, descending=True, stable=True).indices
    for positions in order.split(batch_size):
        yield reader.tensors([encoded[i] for i in positions]), positions
