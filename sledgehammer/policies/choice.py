"""Record what a policy's setting was chosen for, and tell whether that still holds."""

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

CHOICE = "chosen.json"
"""The file's name within an archive and within the directory of an exported model."""


@dataclass(frozen=True)
class Conditions:
    """Describe what a choice depends on: under other conditions the same setting stops other rows.

    # Parameters

    policy : `Dict[str, Any]`
        The policy's config, the chosen setting included.
    temperatures : `Sequence[float]`
        One an exit.
    number_format : `str`
        Such as `float32`, or `onnx int8`.
    weights : `str`
        A fingerprint of the weights; empty if unknown.
    mixing : `Sequence[float]`, optional
        How much of a lexical exit's logits each exit adds to its own; empty without one.
    """

    policy: Dict[str, Any]
    temperatures: Sequence[float]
    number_format: str
    weights: str = ""
    mixing: Sequence[float] = field(default_factory=list)


@dataclass(frozen=True)
class Choice:
    """Describe a chosen setting: for what, on which data, and under which conditions it was chosen.

    # Parameters

    conditions : `Conditions`
    wanted : `Dict[str, float]`
        What the user asked for: `max_accuracy_drop`, `max_inconsistency`, `max_macro_f1_drop`,
        `max_recall_drop of LABEL`, `min_accuracy`, `min_speedup`.
    rows : `int`
        How many rows it was chosen on; their fingerprints are stored beside it (`seen.threshold`).
    data : `str`
        Path of those rows.
    delta : `float`, optional
        The accepted risk that the guarantee fails, if `wanted` is guaranteed.
    each_exit : `bool`, optional (default = `False`)
        Whether the guarantee holds for the texts of each exit, not only for all texts together.
    """

    conditions: Conditions
    wanted: Dict[str, float]
    rows: int
    data: str
    delta: Optional[float] = None
    each_exit: bool = field(default=False)

    def as_dict(self) -> Dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    @staticmethod
    def of(content: Mapping[str, Any]) -> "Choice":
        """Return the choice that `as_dict` described.

        # Raises

        `ValueError` if it does not describe one.
        """
        try:
            rest = {**content}
            return Choice(conditions=Conditions(**rest.pop("conditions")), **rest)
        except (TypeError, KeyError) as error:
            raise ValueError(f"{CHOICE} is damaged: {error}") from error

    def problem(self, now: Conditions) -> Optional[str]:
        """Return what to say if the choice no longer stands under these conditions, else `None`."""
        changes = self._changes(now)
        if not changes:
            return None
        wanted = ", ".join(f"{name} {value:g}" for name, value in self.wanted.items())
        lost = ", and its guarantee no longer holds" if self.delta is not None else ""
        return (
            f"the policy's setting was chosen (for {wanted}, on {self.rows} rows of {self.data}) "
            f"with {' and '.join(changes)}: the choice no longer stands{lost}; choose again with "
            "`tradeoff`, on rows not used before"
        )

    def _changes(self, now: Conditions) -> List[str]:
        then = self.conditions
        same, same_mixing = (
            len(old) == len(new) and np.allclose(old, new, rtol=1e-5, atol=0)
            for old, new in (
                (then.temperatures, now.temperatures),
                (then.mixing, now.mixing),
            )
        )
        other_weights = then.weights != now.weights and then.weights and now.weights
        return [
            *(["other weights"] if other_weights else []),
            *([] if same else ["other temperatures"]),
            *([] if same_mixing else ["another share of the lexical exit in the others"]),
            *(
                [f"the number format {then.number_format}, not {now.number_format}"]
                if then.number_format != now.number_format
                else []
            ),
            *(["another policy or setting"] if then.policy != now.policy else []),
        ]
