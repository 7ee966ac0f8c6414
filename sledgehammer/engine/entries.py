"""What a stream is fed with."""

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Union

from sledgehammer.engine.text import Text


@dataclass(frozen=True)
class Item:
    """A text of a stream that has settings of its own.

    # Parameters

    text : `Text`
    threshold : `float`, optional
        In [0, 1], if the policy has one.
    settings : `Mapping[str, float]`, optional
        The policy's others, by name.
    """

    text: Text
    threshold: Optional[float] = None
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def given(self) -> Dict[str, float]:
        """All settings that it has."""
        own = {} if self.threshold is None else {"threshold": self.threshold}
        return {**self.settings, **own}


@dataclass(frozen=True)
class Known:
    """In the place of a text: an answer that is known without the model, such as an error."""

    answer: Dict[str, Any]


Entry = Union[Text, Item, Known]
