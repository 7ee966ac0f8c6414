"""An exported classifier: batches run segment by segment, answered rows leave."""

import copy
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from numpy import ndarray

from sledgehammer.engine.arguments import check_iterable, listed, whole_number
from sledgehammer.engine.batch import Arrays, Batch, step
from sledgehammer.engine.lines import TRUNCATED
from sledgehammer.engine.manifest import (
    LEXICAL,
    MANIFEST,
    TOKENIZER,
    EngineError,
    Manifest,
    read,
    read_choice,
)
from sledgehammer.engine.runtimes import Segments, open_segments
from sledgehammer.engine.source import Entry
from sledgehammer.engine.stream import BATCH_SIZE, POOLED_RUNTIMES, Schedule, answers
from sledgehammer.engine.tokenizer import Encoded, Text, Tokenizer
from sledgehammer.lexical import LexicalError, LinearModel, Pieces
from sledgehammer.policies import Choice, ExitPolicy, Exits, RowSettings, known_shares

CERTAINTY, DEPTH = "certainty", "depth"
"""The signals that an exported model may tell; see `policies.Evidence`."""

Given = Union[float, Sequence[float], None]
"""A setting: for all texts, or one a text; the exported default if `None`."""


class Engine:
    """A classifier with several exits that was exported with `sledgehammer export`.

    Several threads may use one engine.

    # Parameters

    manifest : `Manifest`
    tokenizer : `Tokenizer`
    segments : `Segments`
    choice : `Choice`, optional
        What the policy's setting was chosen for, if that is known.
    lexical : `LinearModel`, optional
        The exit before the first layer, if the manifest says that there is one.

    # Raises

    `EngineError` if there is no such policy as the manifest's, or it can't decide here.
    """

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: Tokenizer,
        segments: Segments,
        choice: Optional[Choice] = None,
        lexical: Optional[LinearModel] = None,
    ) -> None:
        self.manifest = manifest
        self.choice = choice
        self.tokenizer = tokenizer
        self.segments = segments
        self.lexical = lexical
        self._mixing = np.asarray(manifest.mixing, np.float32)
        self._temperatures = np.asarray(manifest.temperatures, np.float32)
        shares = known_shares(np.asarray(manifest.exit_shares, np.float32))
        self.exits = Exits(manifest.exit_layers, manifest.signals, shares)
        try:
            self.policy = ExitPolicy.make(manifest.policy)
            self.policy.bind(self.exits)
        except ValueError as error:
            raise EngineError(f"the policy of this exported model: {error}") from error
        if unready := self.policy.unready():
            raise EngineError(unready)

    def predict(
        self,
        texts: Sequence[Text],
        threshold: Given = None,
        batch_size: int = BATCH_SIZE,
        **settings: Given,
    ) -> List[Dict[str, Any]]:
        """Classify texts, each stopping where the policy says.

        # Parameters

        texts : `Sequence[Text]`
            Strings, or pairs of them for a model of pairs.
        threshold : `float`, optional
            In [0, 1], for all texts or one a text, if the policy has one; the exported default if
            `None`.
        batch_size : `int`, optional
            Texts that run at a time; those of a batch have about the same length.
        **settings : `float`, optional
            The policy's others, by name, in the same way: `patience=3`, `max_exit_layer=5`.

        # Returns

        A dictionary a text, in order: `label`, `probs` by label, `confidence`, `exit_layer`,
        `layers_run`, `layer_speedup` (`None` where no layer was run); and `truncated` (`True`) if the text was longer than
        `max_length`.

        # Raises

        `EngineError` for bad texts, settings or batch sizes.
        """
        texts = listed(texts)
        batch_size = whole_number(batch_size, 1, "batch_size")
        own = self.settings({"threshold": threshold, **settings}, len(texts))
        encoded = self.tokenizer.encode(texts) if len(texts) else []
        order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i].ids))
        answers: List[Dict[str, Any]] = [{} for _ in encoded]
        for first in range(0, len(order), batch_size):
            positions = order[first : first + batch_size]
            batch = self.encode_batch([encoded[i] for i in positions])
            exits, probs = self.run_until_answered(batch, self.policy, own.of(positions))
            for i, exit, row in zip(positions, exits.tolist(), probs.tolist()):
                answers[i] = self.answer(exit, row)
                if encoded[i].truncated:
                    answers[i][TRUNCATED] = True
        return answers

    def stream(
        self,
        texts: Iterable[Entry],
        threshold: Optional[float] = None,
        batch_size: int = BATCH_SIZE,
        pool: Optional[bool] = None,
        max_delay: Optional[int] = None,
        max_wait: Optional[float] = None,
        **settings: Optional[float],
    ) -> Iterator[Dict[str, Any]]:
        """Classify texts as they come, each as `predict` would; answers come in order.

        With the policy `budget` the mean over the stream is kept at the budget, so that what one
        text may cost depends on those before it.

        # Parameters

        texts : `Iterable[Entry]`
            May be endless. Texts; an `Item` where one has settings of its own.
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
        **settings : `float`, optional
            The policy's others, by name, of the texts that have none.

        # Raises

        `EngineError` for bad arguments, at once; for a bad text or setting, after the answers to
        those before it, and so does what `texts` raises.
        """
        check_iterable(texts)
        given = {"threshold": threshold, **settings}
        if pool is None:
            pool = self.manifest.runtime in POOLED_RUNTIMES
        schedule = Schedule(batch_size, pool, max_delay)
        return answers(self, texts, self.with_settings(given), schedule, max_wait)

    def run_until_answered(
        self, batch: Batch, policy: ExitPolicy, settings: RowSettings
    ) -> Tuple[ndarray, ndarray]:
        """Run each row until it may stop; the last exit answers the rest.

        # Parameters

        batch : `Batch`
            One of which no exit has run, as of `start`.
        policy : `ExitPolicy`
            The engine's own, or another that is bound to its exits.
        settings : `RowSettings`

        # Returns

        The positions of the exits that answered, (rows,), and the calibrated probabilities,
        (rows, labels).
        """
        batch.settings = settings
        count = len(batch.rows)
        exits = np.empty(count, np.int64)
        answers = np.empty((count, len(self.manifest.labels)), np.float32)
        rest: Optional[Batch] = batch
        while rest is not None:
            stopped, rest = step(self, rest, policy)
            if stopped is not None:
                exits[stopped.rows] = stopped.exit
                answers[stopped.rows] = stopped.probs
        return exits, answers

    def run_all_exits(self, tokens: Arrays) -> Tuple[ndarray, Arrays]:
        """What every exit of the network says of every row: uncalibrated logits, (rows, exits,
        labels), and the signals that the segments tell, each (rows, exits)."""
        batch = self.start(tokens)
        logits = []
        for segment in range(len(self._temperatures) - self.manifest.has_lexical):
            exit_logits, signals = self._step(batch, segment)
            logits.append(exit_logits)
            batch.see(exit_logits, signals)
        return np.stack(logits, axis=1), batch.signals

    def encode_batch(self, encoded: Sequence[Encoded]) -> Batch:
        """A batch of tokenised rows, none of which has run."""
        lexical = self.lexical_logits([row.texts for row in encoded])
        return self.start(self.tokenizer.batch(encoded), lexical)

    def lexical_logits(self, pieces: Sequence[Pieces]) -> Optional[ndarray]:
        """Return what the exit before the first layer, if there is one, says of whole texts:
        uncalibrated logits, (rows, labels)."""
        return None if self.lexical is None else self.lexical.logits(pieces)

    def start(self, tokens: Arrays, lexical: Optional[ndarray] = None) -> Batch:
        """Return a batch of which no exit has run.

        # Parameters

        tokens : `Dict[str, ndarray]`
            Each of shape (rows, tokens), int64.
        lexical : `ndarray`, optional
            Those of `lexical_logits`, to answer the rows; `run_all_exits` does without.
        """
        lengths = tokens["attention_mask"].sum(axis=1)
        return Batch(
            np.arange(len(lengths)), lengths, tokens, [], lexical=lexical,
            padding=self.manifest.pad_token_id,
        )  # fmt: skip

    def advance(self, batch: Batch) -> ndarray:
        """Run a batch up to its next exit: that one's calibrated probabilities."""
        position = batch.position
        if self.lexical is None:
            logits, signals = self._step(batch, position)
        else:
            logits, signals = self._mixed_step(batch, position)
        probs = softmax(logits / self._temperatures[position])
        batch.see(probs, signals)
        return probs

    def _mixed_step(self, batch: Batch, position: int) -> Tuple[ndarray, Arrays]:
        """The logits of the next exit, the lexical exit's mixed in, and the signals there."""
        assert batch.lexical is not None, "start the batch with its lexical logits"
        if position == 0:
            return batch.lexical, self._lexical_signals(batch.lexical)
        logits, signals = self._step(batch, position - 1)
        if DEPTH in signals:
            signals[DEPTH] = np.pad(signals[DEPTH], [(0, 0), (1, 0)])
        return logits + self._mixing[position] * batch.lexical, signals

    def _lexical_signals(self, logits: ndarray) -> Arrays:
        """The signals at the lexical exit: what would come of the embeddings is not known yet."""
        found = {}
        if CERTAINTY in self.manifest.signals:
            found[CERTAINTY] = softmax(logits / self._temperatures[0]).max(axis=1)
        if DEPTH in self.manifest.signals:
            found[DEPTH] = np.zeros((len(logits), len(self._temperatures)), np.float32)
        return found

    def _step(self, batch: Batch, segment: int) -> Tuple[ndarray, Arrays]:
        """Run a segment: the logits of its exit, and the signals told there."""
        outputs = self.segments.run(segment, batch.inputs)
        logits = outputs.pop("logits")
        signals = {n: outputs.pop(n) for n in self.manifest.signals if n in outputs}
        batch.inputs = _for_next({**batch.inputs, **outputs})
        return logits, signals

    def settings(self, given: Mapping[str, Given], rows: int) -> RowSettings:
        """Return the settings for some texts.

        # Raises

        `EngineError` for an unknown setting, an invalid value, or too few or too many of them.
        """
        try:
            return self.policy.settings_for(_without_none(given), rows)
        except ValueError as error:
            raise EngineError(str(error)) from error

    def with_settings(self, given: Mapping[str, Optional[float]]) -> ExitPolicy:
        """The policy with other defaults.

        # Raises

        `EngineError` for one that it does not have, or a value that it may not have.
        """
        policy = copy.copy(self.policy)
        try:
            policy.change(_without_none(given))
        except ValueError as error:
            raise EngineError(str(error)) from error
        return policy

    def choice_problem(self, policy: Optional[ExitPolicy] = None) -> Optional[str]:
        """Return what to say if the setting was chosen for something else.

        # Parameters

        policy : `ExitPolicy`, optional
            What decides, if it is not the engine's own.
        """
        if self.choice is None:
            return None
        return self.choice.problem(self.manifest.conditions((policy or self.policy).config()))

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
            "layer_speedup": self.manifest.full_layers / (layer + 1) if layer >= 0 else None,
        }


def load(directory: Union[str, Path], threads: Optional[int] = None) -> Engine:
    """Open an exported model.

    # Parameters

    directory : `Path`
        As `sledgehammer export` wrote it.
    threads : `int`, optional
        All usable cores if `None`.

    # Raises

    `EngineError` if it is no exported model, incomplete or damaged, or its runtime is missing.
    """
    if threads is not None:
        threads = whole_number(threads, 1, "threads")
    directory = Path(directory)
    manifest = read(directory)
    tokenizer = Tokenizer(
        directory / TOKENIZER,
        manifest.max_length,
        manifest.inputs,
        manifest.pad_token_id,
        len(manifest.fields),
        whole=manifest.has_lexical,
    )
    choice = read_choice(directory)
    lexical = _lexical_exit(directory, manifest) if manifest.has_lexical else None
    segments = open_segments(directory, manifest, threads)
    return Engine(manifest, tokenizer, segments, choice, lexical)


def _lexical_exit(directory: Path, manifest: Manifest) -> LinearModel:
    try:
        lexical = LinearModel.load(directory / LEXICAL)
    except LexicalError as error:
        raise EngineError(str(error)) from error
    wanted = len(manifest.fields), len(manifest.labels)
    if (lexical.space.texts, lexical.labels) != wanted:
        raise EngineError(
            f"{directory / LEXICAL} is for {lexical.space.texts} texts a row and {lexical.labels} "
            f"labels, {directory / MANIFEST} for {wanted[0]} and {wanted[1]}: export it again"
        )
    return lexical


def softmax(logits: ndarray) -> ndarray:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _without_none(given: Mapping[str, Given]) -> Dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _for_next(inputs: Arrays) -> Arrays:
    """The first segment takes the tokens, those after it hidden states."""
    return {name: inputs[name] for name in ("hidden", "attention_mask", "pooled") if name in inputs}
