"""Turn the rows of a dataset into tokenised instances, as all dataset readers do."""

import logging
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Instance
from allennlp.data.fields import Field, LabelField, MetadataField, TransformerTextField
from torch import Tensor

from sledgehammer.dataset_readers.holdout import PARTS, held_out_positions, split_path
from sledgehammer.engine.manifest_checks import LONG_TEXTS
from sledgehammer.engine.tokenizer import Encoded, TruncatingTokenizer, padded
from sledgehammer.network import pretrained

logger = logging.getLogger(__name__)

TOKENISED_TOGETHER = 256
"""Rows that the tokenizer gets at a time: that is several times faster than one by one."""


class Row(NamedTuple):
    """Hold a row of a dataset: one text, or the two of a pair, and the label if it is known."""

    texts: List[str]
    label: Optional[str]
    metadata: Optional[Dict[str, Any]] = None


class Tokenised(NamedTuple):
    """Hold rows as word pieces, tokenised once for all that reads them.

    # Parameters

    inputs : `List[Dict[str, List[int]]]`
        For each row what the network reads, as `TransformerReader.encode` returns it.
    pieces : `List[List[List[int]]]`
        For each row what the lexical exit reads, as `TransformerReader.pieces` returns it.
    """

    inputs: List[Dict[str, List[int]]]
    pieces: List[List[List[int]]]

    def of(self, positions: Sequence[int]) -> "Tokenised":
        """Return some of the rows."""
        return Tokenised([self.inputs[i] for i in positions], [self.pieces[i] for i in positions])


class RowInstance(Instance):
    """Remember, beside an instance's fields, whether its texts were longer than `max_length`."""

    truncated = False


class TransformerReader(DatasetReader):
    """Read rows, and tokenise them with the transformer's own tokenizer.

    A data path is a file, a folder, an http(s) URL or `archive!member`. If it ends in `#train` or
    `#validation`, only that part of the rows is read (see `validation_size`).

    # Parameters

    model_name : `str`, optional
        Hub name, local folder or `package:NAME/PATH` of the transformer; the model uses the same
        one. An archive brings its own tokenizer.
    max_length : `int`, optional (default = `512`)
        The most word pieces of a row, special tokens included. Longer texts are truncated; of a
        pair, the longer text first.
    long_texts : `str`, optional (default = `"truncate"`)
        What is kept of longer texts: `"truncate"` keeps the beginning; `"head_tail"` a quarter of
        `max_length` from the beginning and the rest from the end, which often says what a review
        comes to (Sun et al., "How to Fine-Tune BERT for Text Classification?", 2019). Of a pair,
        each text that has to be cut is cut so.
    validation_size : `int`, optional
        How many rows of a file `#validation` holds out; `#train` is all others.
    lexical : `bool`, optional (default = `False`)
        Whether instances also have the `pieces` that a lexical exit reads.
    """

    fields: List[str] = []
    """The names that the texts have in a JSON line and as arguments of `text_to_instance`."""

    def __init__(
        self,
        model_name: Optional[str] = None,
        max_length: int = 512,
        validation_size: Optional[int] = None,
        lexical: bool = False,
        long_texts: str = LONG_TEXTS[0],
        **kwargs: Any,
    ) -> None:
        super().__init__(
            manual_distributed_sharding=True, manual_multiprocess_sharding=True, **kwargs
        )
        self._tokenizer = pretrained.load_tokenizer(model_name, self.serialization_dir)
        # The special tokens of a pair and a word piece of each text must fit.
        if not isinstance(max_length, int) or max_length < 8:
            raise ConfigurationError(f"max_length must be a whole number >= 8, got {max_length!r}")
        limit = self._tokenizer.model_max_length
        if max_length > limit:
            raise ConfigurationError(
                f"max_length is {max_length}, but the transformer takes at most {limit}"
            )
        self.max_length = max_length
        if long_texts not in LONG_TEXTS:
            reason = "windows of a text can't be answered together yet; " * (
                long_texts == "windows"
            )
            raise ConfigurationError(
                f"{reason}long_texts must be {' or '.join(map(repr, LONG_TEXTS))}, got {long_texts!r}"
            )
        self.long_texts = long_texts
        self._truncating_tokenizer = TruncatingTokenizer(
            self._tokenizer.backend_tokenizer, max_length, long_texts
        )
        self._validation_size = validation_size
        self.lexical = lexical

    def rows(self, path: str) -> Iterable[Row]:
        """Return all rows at `path`, which names no part, in an order that is always the same."""
        raise NotImplementedError

    def selected_rows(self, file_path: str) -> Iterable[Row]:
        """Return the rows that `read` turns into instances, in order, ignoring `max_instances`."""
        path, part = split_path(str(file_path))
        rows = self.rows(path)
        return self._select(list(rows), path, part) if part else rows

    def instances(self, rows: Sequence[Row]) -> List[Instance]:
        """Return an instance of each row; the rows are tokenised together."""
        instances: List[Instance] = []
        for encoded, row in zip(self._encode([row.texts for row in rows], self.lexical), rows):
            instance = self._row_instance(self._model_inputs(encoded), row)
            instance.truncated = encoded.truncated
            if self.lexical:
                instance.add_field("pieces", MetadataField(encoded.texts))
            instances.append(instance)
        return instances

    def save_tokenizer(self, file: Path) -> None:
        """Write the tokenizer in the format of the library `tokenizers`."""
        self._tokenizer.backend_tokenizer.save(str(file))

    @property
    def pad_token_id(self) -> int:
        """Return the word piece that fills up shorter rows."""
        return self._tokenizer.pad_token_id

    def encode(self, rows: Sequence[Sequence[str]]) -> List[Dict[str, List[int]]]:
        """Return the word pieces of each row of texts: `input_ids` and maybe `token_type_ids`."""
        return [self._model_inputs(encoded) for encoded in self._encode(rows)]

    def _encode(self, rows: Sequence[Sequence[str]], whole: bool = False) -> List[Encoded]:
        return self._truncating_tokenizer.encode(rows, whole) if rows else []

    def _model_inputs(self, encoded: Encoded) -> Dict[str, List[int]]:
        inputs = {"input_ids": encoded.ids, "token_type_ids": encoded.type_ids}
        taken = self._tokenizer.model_input_names
        return {name: pieces for name, pieces in inputs.items() if name in taken}

    def pieces(self, rows: Sequence[Sequence[str]]) -> List[List[List[int]]]:
        """Return the word pieces of the whole texts of some rows, without special tokens.

        This is what the lexical exit reads: nothing is cut off at `max_length`.
        """
        return [encoded.texts for encoded in self._encode(rows, whole=True)]

    def tokenised(self, rows: Sequence[Sequence[str]]) -> Tokenised:
        """Return what both `encode` and `pieces` return, tokenising only once."""
        encoded = self._encode(rows, whole=True)
        return Tokenised([self._model_inputs(row) for row in encoded], [r.texts for r in encoded])

    def tensors(self, encoded: Sequence[Dict[str, List[int]]]) -> Dict[str, Tensor]:
        """Return rows that `encode` returned as a batch of tensors of shape (rows, tokens)."""
        rows = [Encoded(row["input_ids"], row.get("token_type_ids", [])) for row in encoded]
        arrays = padded(rows, [*encoded[0], "attention_mask"], self.pad_token_id)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

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
        if part not in PARTS[:2]:
            raise ConfigurationError(
                f"{path}#{part}: validation_size divides rows into #train and #validation"
            )
        held_out = held_out_positions(["\n".join(row.texts) for row in rows], self._validation_size)
        wants_held_out = part == PARTS[1]
        return [row for i, row in enumerate(rows) if (i in held_out) == wants_held_out]

    def _instance(
        self,
        texts: List[str],
        label: Optional[str],
        metadata: Optional[Dict[str, Any]] = None,
    ) -> Instance:
        return self.instances([Row(texts, label, metadata)])[0]

    def _row_instance(self, pieces: Dict[str, List[int]], row: Row) -> RowInstance:
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
    """Read rows of one text: the base class of readers for such datasets."""

    fields = ["text"]

    def text_to_instance(self, text: str, label: Optional[str] = None) -> Instance:
        """Return an instance with `tokens` and, if it is known, `label`."""
        return self._instance([text], label)


class TextPairReader(TransformerReader):
    """Read rows of a premise and a hypothesis: the base class of readers for such datasets."""

    fields = ["premise", "hypothesis"]

    def text_to_instance(
        self, premise: str, hypothesis: str, label: Optional[str] = None
    ) -> Instance:
        """Return an instance with `tokens` (of both texts) and, if it is known, `label`."""
        return self._instance([premise, hypothesis], label)


def token_batches(
    reader: TransformerReader, rows: Sequence[Row], batch_size: int
) -> Iterator[Tuple[Dict[str, Tensor], Tensor]]:
    """Tokenise rows, and yield the model's input in batches of similar length, longest first.

    # Returns

    For each batch its tokens, tensors of shape (rows, tokens) on the CPU, and the positions of
    its rows in `rows`.
    """
    return input_batches(reader, reader.encode([row.texts for row in rows]), batch_size)


def input_batches(
    reader: TransformerReader, inputs: Sequence[Dict[str, List[int]]], batch_size: int
) -> Iterator[Tuple[Dict[str, Tensor], Tensor]]:
    """Yield batches of rows that have been tokenised; see `token_batches`."""
    lengths = torch.tensor([len(row["input_ids"]) for row in inputs])
    order = torch.sort(lengths, descending=True, stable=True).indices
    for positions in order.split(batch_size):
        yield reader.tensors([inputs[i] for i in positions]), positions
