"""Read how a model's setting was chosen, and warn if the model has changed since."""

import json
import logging
from pathlib import Path
from typing import Any, Optional, TypeVar, Union

from allennlp.common.checks import ConfigurationError

from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.policy_config import configuration_errors
from sledgehammer.policies import CHOICE, Choice

logger = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")


def with_choice(model: Loaded, folder: Union[str, Path]) -> Loaded:
    """Give a model the choice stored beside its weights, and warn if it no longer holds.

    # Parameters

    model : `Any`
        Left alone unless it is an `ExitClassifier`.
    folder : `Path`
        The folder of an extracted archive, or of an exported model.

    # Raises

    `ConfigurationError` if the file is damaged.
    """
    if isinstance(model, ExitClassifier):
        model.choice = read_choice(Path(folder))
        log_stale_choice(model)
    return model


def read_choice(folder: Path) -> Optional[Choice]:
    """Return the choice stored in a folder, if there is one.

    # Raises

    `ConfigurationError` if the file is damaged.
    """
    try:
        stored = (folder / CHOICE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    with configuration_errors():
        content: Any = json.loads(stored)
        if not isinstance(content, dict):
            raise ConfigurationError(f"{CHOICE} is damaged: it is not a JSON object")
        return Choice.of(content)


def log_stale_choice(model: ExitClassifier) -> None:
    """Log a warning if a model's setting was chosen for something else."""
    if problem := model.choice_problem():
        logger.warning("%s", problem)


def choice_bytes(choice: Choice) -> bytes:
    """Return the content of the file that `read_choice` reads."""
    return (json.dumps(choice.as_dict(), indent=2) + "\n").encode()
