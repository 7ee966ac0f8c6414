"""How much the rows of each class count while the exits learn."""

from typing import Any, Dict, List, Mapping, Sequence

from allennlp.common.checks import ConfigurationError

AUTO = "auto"
"""Asks for weights by which every class counts as much as any other, however rare it is."""


def balanced(counts: Mapping[str, int], labels: Sequence[str]) -> List[float]:
    """Return a weight for each class: rows / (classes * rows of the class).

    The mean weight of a row is 1, so that learning rates mean the same.

    # Parameters

    counts : `Mapping[str, int]`
        How many training rows each class has; one without any gets the weight 1.
    labels : `Sequence[str]`
        The classes, in the order of the weights.

    # References

    King and Zeng, "Logistic Regression in Rare Events Data", Political Analysis 2001.
    """
    present = [counts.get(label, 0) for label in labels]
    classes = sum(count > 0 for count in present)
    return [sum(present) / (classes * count) if count else 1.0 for count in present]


def checked_weights(weights: Any, labels: Sequence[str]) -> Any:
    """Return class weights from a config: `None`, `AUTO`, or a weight for each of the labels.

    Labels that a map does not name have the weight 1.

    # Raises

    `ConfigurationError` for anything else.
    """
    if weights is None or weights == AUTO:
        return weights
    if not isinstance(weights, dict):
        raise ConfigurationError(
            f'class_weights must be "{AUTO}" or a map such as {{"rare": 5}}, got {weights!r}'
        )
    named: Dict[str, Any] = dict(weights)
    for label, weight in named.items():
        if label not in labels:
            raise ConfigurationError(
                f"class_weights: no label {label!r} in the data, which has {', '.join(labels)}"
            )
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not 0 < weight < float("inf"):
            raise ConfigurationError(
                f"class_weights: {label!r} must have a weight above 0, got {weight!r}"
            )
    return [float(named.get(label, 1.0)) for label in labels]
