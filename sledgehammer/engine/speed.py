"""Keep how fast an exported model was beside it, and on which machine."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Optional

from sledgehammer.support.files import replacing

SPEED = "speed.json"
"""The file's name within the directory of an exported model."""


@dataclass(frozen=True)
class Speed:
    """Hold how long single texts took.

    # Parameters

    texts : `int`
        How many were timed, each alone.
    early_seconds, full_seconds : `float`
        The mean time of a text at `setting`, and where nothing stops early.
    setting : `float`
        The value of the policy's setting.
    machine : `Dict[str, Any]`
        The processor, its cores and the libraries; see `describe_machine`.
    """

    texts: int
    early_seconds: float
    full_seconds: float
    setting: float
    machine: Dict[str, Any]

    def __post_init__(self) -> None:
        times = (self.early_seconds, self.full_seconds)
        if not all(isinstance(time, (int, float)) and 0 < time < float("inf") for time in times):
            raise ValueError("early_seconds and full_seconds must be above 0")
        if type(self.texts) is not int or not isinstance(self.machine, dict):
            raise ValueError("texts must be a number, and machine an object")

    def save(self, directory: Path) -> None:
        """Write it into the directory of an exported model, before its manifest is written."""
        with replacing(directory / SPEED) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(directory: Path) -> "Optional[Speed]":
        """Return the speed of an exported model; `None` if it was not measured.

        # Raises

        `ValueError` if the file is damaged.
        """
        try:
            return Speed(**json.loads((directory / SPEED).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{directory / SPEED} is damaged: {error}") from error
