"""Classify texts with an exported model: one by one, in lists, or as they come."""

import copy
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Union

from sledgehammer.engine.arguments import check_iterable, listed, whole_number
from sledgehammer.engine.batch import Batch
from sledgehammer.engine.lines import TRUNCATED
from sledgehammer.engine.manifest import EngineError, Manifest
from sledgehammer.engine.running import SegmentRunner
from sledgehammer.engine.runtimes import Segments
from sledgehammer.engine.schedule import BATCH_SIZE, POOLED_RUNTIMES, Schedule
from sledgehammer.engine.source import Entry
from sledgehammer.engine.stream import answers
from sledgehammer.engine.tokenizer import Encoded, Text, Tokenizer
from sledgehammer.lexical import LinearModel
from sledgehammer.policies import Choice, ExitPolicy, Exits, RowSettings

Setting = Union[float, Mapping[str, float]]
"""A number, or, for the policy `confidence`, thresholds by label."""

SettingValues = Union[Setting, Sequence[Setting], None]
"""A setting for all texts, or one value for each text; the exported default if `None`."""


class Engine(SegmentRunner):
    """Classify with a model that was exported with `sledgehammer export`.

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

    `EngineError` if the manifest's policy is unknown, or can't decide for this model.
    """

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: Tokenizer,
        segments: Segments,
        choice: Optional[Choice] = None,
        lexical: Optional[LinearModel] = None,
    ) -> None:
        super().__init__(manifest, segments, lexical)
        self.tokenizer = tokenizer
        self.choice = choice
        self.policy = policy_of(manifest, self.exits)

    def predict(
        self,
        texts: Sequence[Text],
        threshold: SettingValues = None,
        batch_size: int = BATCH_SIZE,
        **settings: SettingValues,
    ) -> List[Dict[str, Any]]:
        """Classify texts, each stopping where the policy says.

        # Parameters

        texts : `Sequence[Text]`
            Strings, or pairs of them for a model of pairs.
        threshold : `float`, optional
            If the policy has one: in [0, 1], for all texts, or one for each text; the exported
            default if `None`. With the policy `confidence` it may be a map from labels,
            `{"spam": 0.99}`: a text stops where the threshold of the label predicted there is
            reached; `"*"` stands for the labels not named, which else keep theirs.
        batch_size : `int`, optional
            Texts that run at a time; the texts of a batch have about the same length.
        **settings : `float`, optional
            Other settings of the policy, by name, in the same way: `patience=3`,
            `max_exit_layer=5`.

        # Returns

        A dictionary for each text, in order: `label`, `probs` by label, `confidence`, `exit_layer`,
        `layers_run`, `layer_speedup` (`None` if no layer was run); and `truncated` (`True`) if the
        text was longer than `max_length`.

        # Raises

        `EngineError` for invalid texts, settings or batch sizes.
        """
        texts = listed(texts)
        batch_size = whole_number(batch_size, 1, "batch_size")
        row_settings = self.settings({"threshold": threshold, **settings}, len(texts))
        encoded = self.tokenizer.encode(texts) if len(texts) else []
        order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i].ids))
        answers: List[Dict[str, Any]] = [{} for _ in encoded]
        for first in range(0, len(order), batch_size):
            positions = order[first : first + batch_size]
            batch = self.encode_batch([encoded[i] for i in positions], row_settings.of(positions))
            exits, probs = self.run_until_answered(batch, self.policy)
            for i, exit, row_probs in zip(positions, exits.tolist(), probs.tolist()):
                answers[i] = self.answer(exit, row_probs, encoded[i].truncated)
        return answers

    def stream(
        self,
        texts: Iterable[Entry],
        threshold: Optional[Setting] = None,
        batch_size: int = BATCH_SIZE,
        pool: Optional[bool] = None,
        max_delay: Optional[int] = None,
        max_wait: Optional[float] = None,
        **settings: Optional[Setting],
    ) -> Iterator[Dict[str, Any]]:
        """Classify texts as they come, each as `predict` would; answers come in order.

        With the policy `budget` the mean over the stream is kept at the budget, so that what one
        text may cost depends on those before it.

        # Parameters

        texts : `Iterable[Entry]`
            Texts, without end if need be; an `Item` for a text that has settings of its own.
        threshold : `float`, optional
            For texts without one of their own, as in `predict`; the exported default if `None`.
        batch_size, max_delay : `int`, optional
        pool : `bool`, optional
            See `Schedule`; if `pool` is `None`, it depends on the runtime.
        max_wait : `float`, optional
            Seconds. When no text is there and the oldest without an answer was read so long ago,
            everything held is run. Then `texts` is read in a thread, at most `batch_size` ahead;
            it ends after the next text when the generator is closed. If `None`, answers may wait
            for the texts after them, and there is no thread.
        **settings : `float`, optional
            Other settings of the policy, by name, for texts without their own.

        # Raises

        `EngineError` for invalid arguments, at once. For an invalid text or setting it is raised
        after the answers to the texts before it, and so is what `texts` raises.
        """
        check_iterable(texts)
        policy = self.with_settings({"threshold": threshold, **settings})
        return answers(self, texts, policy, self.schedule(batch_size, pool, max_delay), max_wait)

    def schedule(
        self,
        batch_size: int = BATCH_SIZE,
        pool: Optional[bool] = None,
        max_delay: Optional[int] = None,
    ) -> Schedule:
        """Return when the rows of a stream run; whether in pools depends on the runtime if `None`."""
        if pool is None:
            pool = self.manifest.runtime in POOLED_RUNTIMES
        return Schedule(batch_size, pool, max_delay)

    def encode_batch(self, encoded: Sequence[Encoded], settings: RowSettings) -> Batch:
        """Return a batch of tokenised rows, of which no exit has run.

        # Parameters

        settings : `RowSettings`
            The settings of the rows, by which the policy decides.
        """
        lexical = self.lexical_logits([row.texts for row in encoded])
        return self.start(self.tokenizer.batch(encoded), settings, lexical)

    def settings(self, values: Mapping[str, SettingValues], rows: int) -> RowSettings:
        """Return the settings for some texts.

        # Parameters

        values : `Mapping[str, SettingValues]`
            By the name of the setting.
        rows : `int`
            The number of texts.

        # Raises

        `EngineError` for an unknown setting, an invalid value, or too few or too many of them.
        """
        try:
            return self.policy.settings_for(_without_none(values), rows)
        except ValueError as error:
            raise EngineError(str(error)) from error

    def with_settings(self, values: Mapping[str, Optional[Setting]]) -> ExitPolicy:
        """Return the policy with other default settings.

        # Raises

        `EngineError` for an unknown setting, or an invalid value of one.
        """
        return changed(self.policy, values)

    def choice_problem(self, policy: Optional[ExitPolicy] = None) -> Optional[str]:
        """Return a warning if the policy's setting was chosen under other conditions.

        # Parameters

        policy : `ExitPolicy`, optional
            What decides, if it is not the engine's own policy.
        """
        if self.choice is None:
            return None
        return self.choice.problem(self.manifest.conditions((policy or self.policy).config()))

    def answer(self, exit: int, probs: Sequence[float], truncated: bool = False) -> Dict[str, Any]:
        """Return the answer to a text.

        # Parameters

        exit : `int`
            The position of the exit that answered.
        probs : `Sequence[float]`
            The probability of each label.
        truncated : `bool`, optional (default = `False`)
            Whether the text was longer than `max_length`.
        """
        best = max(range(len(probs)), key=probs.__getitem__)
        layer = self.manifest.exit_layers[exit]
        return {
            "label": self.manifest.labels[best],
            "probs": dict(zip(self.manifest.labels, probs)),
            "confidence": probs[best],
            "exit_layer": layer,
            "layers_run": layer + 1,
            "layer_speedup": self.manifest.full_layers / (layer + 1) if layer >= 0 else None,
            **({TRUNCATED: True} if truncated else {}),
        }


def policy_of(manifest: Manifest, exits: Exits) -> ExitPolicy:
    """Return the policy of an exported model, bound to its exits.

    # Raises

    `EngineError` if it is unknown, or can't decide for this model.
    """
    try:
        policy = ExitPolicy.make(manifest.policy)
        policy.bind(exits)
    except ValueError as error:
        raise EngineError(f"the policy of this exported model: {error}") from error
    if unready := policy.unready():
        raise EngineError(unready)
    return policy


def changed(policy: ExitPolicy, values: Mapping[str, Optional[Setting]]) -> ExitPolicy:
    """Return a policy with other default settings; see `Engine.with_settings`."""
    policy = copy.copy(policy)
    try:
        policy.change(_without_none(values))
    except ValueError as error:
        raise EngineError(str(error)) from error
    return policy


def _without_none(values: Mapping[str, SettingValues]) -> Dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
