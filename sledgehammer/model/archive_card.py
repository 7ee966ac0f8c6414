"""Write the model card of an archive, from what the archive itself holds."""

import json
import logging
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import torch
from allennlp.models.archival import CONFIG_NAME
from torch import Tensor

from sledgehammer.cards.facts import Facts, name_of
from sledgehammer.cards.file import renew, renewed
from sledgehammer.engine.curve import CURVE, Curve
from sledgehammer.engine.manifest import CARD
from sledgehammer.model.fitted_rows import PURPOSES
from sledgehammer.model.weights import WeightsError, read_weights
from sledgehammer.network.pretrained import SNAPSHOT
from sledgehammer.policies import CHOICE, Choice, Conditions, ConfidencePolicy, ExitPolicy

logger = logging.getLogger(__name__)

METRICS = "metrics.json"
"""What the training run measured; the archive has it as long as the weights are the run's."""

TRANSFORMER = f"{SNAPSHOT}/config.json"
CARD_FILES = (CARD, METRICS, TRANSFORMER, CHOICE, CURVE, "vocabulary/labels.txt")
"""The small files that a card is made from, beside the config."""

FITTED = ("temperatures", "mixing", "exit_shares", *(f"seen.{purpose}" for purpose in PURPOSES))
"""The entries of the weights that calibration and the choice of a setting change, not training."""


def facts_of_archive(
    name: str,
    members: Mapping[str, bytes],
    state: Mapping[str, Tensor],
    weights: str = "",
) -> Optional[Facts]:
    """Return what is known of an archive; `None` if its model is not one of ours.

    # Parameters

    name : `str`
        What the card calls it.
    members : `Mapping[str, bytes]`
        The content of `CARD_FILES`, as far as they are there, and of the config.
    state : `Mapping[str, Tensor]`
        At least the `FITTED` entries of the weights.
    weights : `str`, optional
        The fingerprint of the weights, if it is known.

    # Raises

    `ValueError` if a file is damaged.
    """
    config = _object(members.get(CONFIG_NAME, b"{}"))
    model = config.get("model")
    if not isinstance(model, dict) or model.get("type") != "sledgehammer":
        return None
    lexical = bool(model.get("lexical"))
    mixing = state["mixing"].tolist() if lexical and "mixing" in state else []
    conditions = Conditions(
        _policy(model.get("policy")), state["temperatures"].tolist(),
        model.get("inference_dtype") or "float32", weights, mixing,
    )  # fmt: skip
    curve = Curve.of(members[CURVE]) if CURVE in members else None
    transformer = _object(members.get(TRANSFORMER, b"{}"))
    layers = transformer.get("num_hidden_layers", transformer.get("n_layers"))
    return Facts(
        name=name,
        config=config,
        labels=_labels(members.get("vocabulary/labels.txt", b"")),
        exit_layers=[*([-1] if lexical else []), *model["exit_layers"]],
        full_layers=layers if isinstance(layers, int) else None,
        conditions=conditions,
        used_rows={p: len(state[f"seen.{p}"]) for p in PURPOSES if f"seen.{p}" in state},
        choice=Choice.of(_object(members[CHOICE])) if CHOICE in members else None,
        curve=curve if curve is not None and curve.is_of(conditions) else None,
        metrics=_object(members.get(METRICS, b"{}")),
    )


class CardOfCopy:
    """Write the card of a changed copy of an archive while the copy is written.

    # Parameters

    name : `str`
        What the card calls the copy.
    added : `Mapping[str, bytes]`
        The files that the copy gets.
    """

    def __init__(self, name: str, added: Mapping[str, bytes]) -> None:
        self._name = name
        self._members = dict(added)
        self._state: Dict[str, Tensor] = {}
        self._weights = ""
        self._old: Optional[bytes] = None

    def take_weights(self, old: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> None:
        """Note the weights of the original, and those that the copy has in their place."""
        self._state = {name: tensor for name, tensor in old.items() if name in FITTED}
        self._state.update({name: changed[name] for name in FITTED if name in changed})
        if any(
            name not in FITTED and not (name in old and torch.equal(old[name].cpu(), tensor))
            for name, tensor in changed.items()
        ):
            self._weights = "changed"

    def pass_on(self, name: str, content: bytes) -> Optional[bytes]:
        """Note a small file, and return what the copy gets of it: `None` for nothing."""
        if name == CARD:
            self._old = content
            return None
        if name == METRICS and self._weights:  # measured with other weights
            return None
        self._members.setdefault(name, content)
        return content

    def members(self) -> Dict[str, bytes]:
        """Return the card, by its name in the archive, once everything else is known."""
        if CARD in self._members:
            return {}
        try:
            facts = facts_of_archive(self._name, self._members, self._state, self._weights)
            old = None if self._old is None else self._old.decode()
            text = None if facts is None else renewed(old, facts)
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("no model card could be written: %s", error)
            text = None
        if text is not None:
            return {CARD: text.encode()}
        if self._old is None:
            return {}
        logger.warning("the model card was edited, so it stays as it was (see `card --force`)")
        return {CARD: self._old}


def write_run_card(folder: Path, weights: Path) -> Dict[str, Path]:
    """Write the card of a training run into its folder.

    # Parameters

    folder : `Path`
        The serialization directory.
    weights : `Path`

    # Returns

    The files that the archive gets, by their names there: none if the model is not one of ours.
    """
    small = {
        name: (folder / name).read_bytes()
        for name in (CONFIG_NAME, *CARD_FILES)
        if (folder / name).is_file()
    }
    files: Dict[str, Path] = {}
    try:
        state = read_weights(weights)
        facts = facts_of_archive(name_of(folder), small, state)
        if facts is None:
            return {}
        files = {name: folder / name for name in (METRICS,) if name in small}
        if not renew(folder, facts):
            logger.warning("the model card was edited, so it stays as it was")
    except (ValueError, KeyError, TypeError, WeightsError) as error:
        # The model is trained: a card is no reason to lose it.
        logger.warning("no model card could be written: %s", error)
    return {**files, CARD: folder / CARD} if (folder / CARD).is_file() else files


def _policy(config: Any) -> Dict[str, Any]:
    """Return a policy's config with its default settings, as a choice's conditions have it."""
    try:
        return ExitPolicy.make(config or {}).config()
    except ValueError:  # a policy of the user's own, which is not imported
        return dict(config) if isinstance(config, dict) else ConfidencePolicy().config()


def _labels(content: bytes) -> List[str]:
    lines = content.decode().splitlines()
    return [line for line in lines if line and not line.startswith("@@")]


def _object(content: bytes) -> Dict[str, Any]:
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value
