"""Run batches through the segments of an exported model, from exit to exit."""

from typing import Optional, Sequence, Tuple

import numpy as np
from numpy import ndarray

from sledgehammer.engine.batch import Arrays, Batch, step
from sledgehammer.engine.manifest import Manifest
from sledgehammer.engine.runtimes import Segments
from sledgehammer.lexical import LinearModel, Pieces
from sledgehammer.policies import ExitPolicy, Exits, RowSettings, known_shares

CERTAINTY, DEPTH = "certainty", "depth"
"""The signals that an exported model may compute; see `policies.Evidence`."""

STATES = ("hidden", "attention_mask", "pooled")
"""What a segment takes from the one before it; the first one takes the tokens."""


def exits_of(manifest: Manifest) -> Exits:
    """Return what a policy must know of a model."""
    shares = known_shares(np.asarray(manifest.exit_shares, np.float32))
    return Exits(manifest.exit_layers, manifest.signals, shares, manifest.labels)


class SegmentRunner:
    """Run batches of an exported model.

    Several threads may use one runner.

    # Parameters

    manifest : `Manifest`
    segments : `Segments`
    lexical : `LinearModel`, optional
        The exit before the first layer, if the manifest says that there is one.
    """

    def __init__(
        self, manifest: Manifest, segments: Segments, lexical: Optional[LinearModel] = None
    ) -> None:
        self.manifest = manifest
        self.segments = segments
        self.lexical = lexical
        self._mixing = np.asarray(manifest.mixing, np.float32)
        self._temperatures = np.asarray(manifest.temperatures, np.float32)
        self.exits = exits_of(manifest)

    def start(
        self,
        tokens: Arrays,
        settings: Optional[RowSettings] = None,
        lexical: Optional[ndarray] = None,
    ) -> Batch:
        """Return a batch of which no exit has run.

        # Parameters

        tokens : `Dict[str, ndarray]`
            Each of shape (rows, tokens), int64.
        settings : `RowSettings`, optional
            The settings by which a policy decides; not needed where all exits run.
        lexical : `ndarray`, optional
            What `lexical_logits` returns; `run_all_exits` does without.
        """
        lengths = tokens["attention_mask"].sum(axis=1)
        return Batch(
            np.arange(len(lengths)), lengths, tokens, [], settings=settings or RowSettings(),
            lexical=lexical, padding=self.manifest.pad_token_id,
        )  # fmt: skip

    def lexical_logits(self, pieces: Sequence[Pieces]) -> Optional[ndarray]:
        """Return what the exit before the first layer, if there is one, says about whole texts.

        # Returns

        Uncalibrated logits, (rows, labels).
        """
        return None if self.lexical is None else self.lexical.logits(pieces)

    def run_until_answered(self, batch: Batch, policy: ExitPolicy) -> Tuple[ndarray, ndarray]:
        """Run each row until it may stop; the last exit answers the rest.

        # Parameters

        batch : `Batch`
            A batch as `start` returns it, with settings of the policy.
        policy : `ExitPolicy`
            A policy that is bound to this model's exits.

        # Returns

        The positions of the exits that answered, (rows,), and the calibrated probabilities,
        (rows, labels).
        """
        count = len(batch.rows)
        exits = np.empty(count, np.int64)
        probs = np.empty((count, len(self.manifest.labels)), np.float32)
        rest: Optional[Batch] = batch
        while rest is not None:
            stopped, rest = step(self, rest, policy)
            if stopped is not None:
                exits[stopped.rows] = stopped.exit
                probs[stopped.rows] = stopped.probs
        return exits, probs

    def run_all_exits(self, tokens: Arrays) -> Tuple[ndarray, Arrays]:
        """Return what every exit of the network says about every row.

        # Returns

        Uncalibrated logits, (rows, exits, labels), and the signals that the segments compute, each
        (rows, exits).
        """
        batch = self.start(tokens)
        logits = []
        for segment in range(len(self._temperatures) - self.manifest.has_lexical):
            exit_logits, signals = self._run_segment(batch, segment)
            logits.append(exit_logits)
            batch.see(exit_logits, signals)
        return np.stack(logits, axis=1), batch.signals

    def advance(self, batch: Batch) -> ndarray:
        """Run a batch up to its next exit, and return the calibrated probabilities there."""
        position = batch.position
        if self.lexical is None:
            logits, signals = self._run_segment(batch, position)
        else:
            logits, signals = self._run_beside_lexical(batch, position)
        probs = softmax(logits / self._temperatures[position])
        batch.see(probs, signals)
        return probs

    def _run_beside_lexical(self, batch: Batch, position: int) -> Tuple[ndarray, Arrays]:
        """Return the logits of an exit, with the lexical exit's mixed in, and its signals."""
        assert batch.lexical is not None, "start the batch with its lexical logits"
        if position == 0:
            return batch.lexical, self._lexical_signals(batch.lexical)
        logits, signals = self._run_segment(batch, position - 1)
        if DEPTH in signals:
            signals[DEPTH] = np.pad(signals[DEPTH], [(0, 0), (1, 0)])
        return logits + self._mixing[position] * batch.lexical, signals

    def _lexical_signals(self, logits: ndarray) -> Arrays:
        """Return the signals at the lexical exit, where nothing predicts the depth yet."""
        signals = {}
        if CERTAINTY in self.manifest.signals:
            signals[CERTAINTY] = softmax(logits / self._temperatures[0]).max(axis=1)
        if DEPTH in self.manifest.signals:
            signals[DEPTH] = np.zeros((len(logits), len(self._temperatures)), np.float32)
        return signals

    def _run_segment(self, batch: Batch, segment: int) -> Tuple[ndarray, Arrays]:
        """Run a segment, and return the logits and the signals of its exit."""
        outputs = self.segments.run(segment, batch.inputs)
        logits = outputs.pop("logits")
        signals = {n: outputs.pop(n) for n in self.manifest.signals if n in outputs}
        states = {**batch.inputs, **outputs}
        batch.inputs = {name: states[name] for name in STATES if name in states}
        return logits, signals


def softmax(logits: ndarray) -> ndarray:
    """Return the softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
