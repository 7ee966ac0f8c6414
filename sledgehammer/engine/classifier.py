"""An exported classifier: batches run segment by segment, answered rows leave."""

from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from numpy import ndarray

from sledgehammer.engine.batch import Arrays, Batch, reached
from sledgehammer.engine.manifest import TOKENIZER, EngineError, Manifest, read
from sledgehammer.engine.runtimes import Segments, open_segments
from sledgehammer.engine.stream import BATCH_SIZE, POOLED_RUNTIMES, Entry, Schedule, answers
from sledgehammer.engine.text import Encoded, Text, Tokenizer
from sledgehammer.lines import valid_threshold

Stops = Callable[[List[ndarray], ndarray], ndarray]
"""Which rows stop at an exit: given the calibrated probabilities of all exits so far, each of
shape (rows, labels), and the rows' positions in the batch: (rows,), bool."""


class Engine:
    """A classifier with several exits that was exported with `allennlp export`.

    Several threads may use one engine.

    # Parameters

    manifest : `Manifest`
    tokenizer : `Tokenizer`
    segments : `Segments`
    """

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer, segments: Segments) -> None:
        self.manifest = manifest
        self.tokenizer = tokenizer
        self.segments = segments
        self._temperatures = np.asarray(manifest.temperatures, np.float32)

    def predict(
        self,
        texts: Sequence[Text],
        threshold: Union[float, Sequence[float], None] = None,
        batch_size: int = BATCH_SIZE,
    ) -> List[Dict[str, Any]]:
        """Classify texts, each stopping at its first confident exit.

        # Parameters

        texts : `Sequence[Text]`
            Strings, or pairs of them for a model of pairs.
        threshold : `float`, optional
            In [0, 1], for all texts or one a text; the exported default if `None`.
        batch_size : `int`, optional
            Texts that run at a time; those of a batch have about the same length.

        # Returns

        A dictionary a text, in order: `label`, `probs` by label, `confidence`, `exit_layer`,
        `layers_run`, `layer_speedup`.

        # Raises

        `EngineError` for bad texts or thresholds.
        """
        if isinstance(texts, str):
            raise EngineError("give a list of texts, not one text")
        thresholds = self.thresholds(threshold, len(texts))
        encoded = self.tokenizer.encode(texts) if len(texts) else []
        order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i].ids))
        answers: List[Dict[str, Any]] = [{} for _ in encoded]
        for first in range(0, len(order), batch_size):
            positions = order[first : first + batch_size]
            tokens = self.tokenizer.batch([encoded[i] for i in positions])
            exits, probs = self.run_until_answered(tokens, confident(thresholds[positions]))
            for i, exit, row in zip(positions, exits.tolist(), probs.tolist()):
                answers[i] = self.answer(exit, row)
        return answers

    def stream(
        self,
        texts: Iterable[Entry],
        threshold: Optional[float] = None,
        batch_size: int = BATCH_SIZE,
        pool: Optional[bool] = None,
        max_delay: Optional[int] = None,
        max_wait: Optional[float] = None,
    ) -> Iterator[Dict[str, Any]]:
        """Classify texts as they come, each as `predict` would; answers come in order.

        # Parameters

        texts : `Iterable[Entry]`
            May be endless. Texts; an `Item` where one has a threshold of its own.
        threshold : `float`, optional
            Of the texts that have none; the exported default if `None`.
        batch_size, max_delay : `int`, optional
        pool : `bool`, optional
            See `Schedule`; whether there are pools depends on the runtime if `None`.
        max_wait : `float`, optional
            Seconds. When no text is there and the oldest without an answer was read so long ago,
            everything held is run. Then `texts` is read in a thread, at most `batch_size` ahead;
            it ends after the next text when the generator is closed. If `None`, answers may wait
            for the texts after them, and there is no thread.

        # Raises

        `EngineError` for bad arguments, at once; for a bad text or threshold, after the answers to
        those before it, and so does what `texts` raises.
        """
        if isinstance(texts, str):
            raise EngineError("give an iterable of texts, not one text")
        default = float(self.thresholds(threshold, 1)[0])
        if pool is None:
            pool = self.manifest.runtime in POOLED_RUNTIMES
        schedule = Schedule(batch_size, pool, max_delay)
        return answers(self, texts, default, schedule, max_wait)

    def run_until_answered(self, tokens: Arrays, stops: Stops) -> Tuple[ndarray, ndarray]:
        """Run each row until it may stop; the last exit answers the rest.

        # Parameters

        tokens : `Dict[str, ndarray]`
            Each of shape (rows, tokens), int64.
        stops : `Stops`

        # Returns

        The positions of the exits that answered, (rows,), and the calibrated probabilities,
        (rows, labels).
        """
        batch = self.start(tokens)
        count = len(batch.rows)
        exits = np.full(count, len(self._temperatures) - 1)
        answers = np.empty((count, len(self.manifest.labels)), np.float32)
        while True:
            probs = self.advance(batch)
            if batch.position == len(self._temperatures):
                answers[batch.rows] = probs
                return exits, answers
            stopped = stops(batch.probs, batch.rows)
            if stopped.any():
                answered = batch.rows[stopped]
                answers[answered] = probs[stopped]
                exits[answered] = batch.position - 1
                if stopped.all():
                    return exits, answers
                batch = batch.keep(np.flatnonzero(~stopped))

    def run_all_exits(self, tokens: Arrays) -> ndarray:
        """Uncalibrated logits of every exit for every row: (rows, exits, labels)."""
        inputs = tokens
        logits = []
        for position in range(len(self._temperatures)):
            exit_logits, inputs = self._step(position, inputs)
            logits.append(exit_logits)
        return np.stack(logits, axis=1)

    def encode_batch(self, encoded: Sequence[Encoded]) -> Batch:
        """A batch of tokenised rows, none of which has run."""
        return self.start(self.tokenizer.batch(encoded))

    def start(self, tokens: Arrays) -> Batch:
        """A batch of which no exit has run."""
        lengths = tokens["attention_mask"].sum(axis=1)
        return Batch(np.arange(len(lengths)), lengths, tokens, [])

    def advance(self, batch: Batch) -> ndarray:
        """Run a batch up to its next exit: that one's calibrated probabilities."""
        logits, batch.inputs = self._step(batch.position, batch.inputs)
        probs = softmax(logits / self._temperatures[batch.position])
        batch.probs = [*batch.probs, probs]
        return probs

    def _step(self, position: int, inputs: Arrays) -> Tuple[ndarray, Arrays]:
        """The logits of an exit, and what the next segment takes."""
        outputs = self.segments.run(position, inputs)
        logits = outputs.pop("logits")
        return logits, _for_next({**inputs, **outputs})

    def thresholds(self, threshold: Union[float, Sequence[float], None], rows: int) -> ndarray:
        """One threshold a row, (rows,), float32.

        # Raises

        `EngineError` if they are not numbers in [0, 1], or not as many.
        """
        given = self.manifest.threshold if threshold is None else threshold
        if isinstance(given, (list, tuple, ndarray)) and len(given) != rows:
            raise EngineError(f"{len(given)} thresholds for {rows} texts")
        values = given if isinstance(given, (list, tuple, ndarray)) else [given]
        try:
            checked = [valid_threshold(v.item() if hasattr(v, "item") else v) for v in values]
        except ValueError as error:
            raise EngineError(str(error)) from error
        return np.broadcast_to(np.asarray(checked, np.float32), (rows,))

    def answer(self, exit: int, probs: Sequence[float]) -> Dict[str, Any]:
        """What is told of a row that the exit at this position answered."""
        best = max(range(len(probs)), key=probs.__getitem__)
        layer = self.manifest.exit_layers[exit]
        return {
            "label": self.manifest.labels[best],
            "probs": dict(zip(self.manifest.labels, probs)),
            "confidence": probs[best],
            "exit_layer": layer,
            "layers_run": layer + 1,
            "layer_speedup": self.manifest.full_layers / (layer + 1),
        }


def load(directory: Union[str, Path], threads: Optional[int] = None) -> Engine:
    """Open an exported model.

    # Parameters

    directory : `Path`
        As `allennlp export` wrote it.
    threads : `int`, optional
        All usable cores if `None`.

    # Raises

    `EngineError` if it is no exported model, incomplete or damaged, or its runtime is missing.
    """
    directory = Path(directory)
    manifest = read(directory)
    tokenizer = Tokenizer(
        directory / TOKENIZER,
        manifest.max_length,
        manifest.inputs,
        manifest.pad_token_id,
        len(manifest.fields),
    )
    return Engine(manifest, tokenizer, open_segments(directory, manifest, threads))


def confident(thresholds: ndarray) -> Stops:
    """Stop at the first exit whose confidence reaches the row's threshold; never at 1.0.

    # Parameters

    thresholds : `ndarray`
        Shape (rows of the batch,), float32.
    """

    def stops(probs: List[ndarray], rows: ndarray) -> ndarray:
        return reached(probs[-1], thresholds[rows])

    return stops


def softmax(logits: ndarray) -> ndarray:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _for_next(inputs: Arrays) -> Arrays:
    """The first segment takes the tokens, those after it hidden states."""
    return {name: inputs[name] for name in ("hidden", "attention_mask", "pooled") if name in inputs}
