"""Write a card's front matter, in the format of the Hugging Face hub and with its own library."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from sledgehammer.cards.facts import Facts, is_hub_name, shown_data

INSTALL = "pip install huggingface_hub"


class CardError(ValueError):
    """Tell why a card can't be written."""


@dataclass(frozen=True)
class Declared:
    """Hold what only the model's owner knows, and the front matter has.

    # Parameters

    language : `List[str]`
        Codes such as `en`.
    license : `str`, optional
        As the hub calls it, such as `apache-2.0`.
    datasets : `List[str]`
        Names of datasets on the hub.
    """

    language: List[str] = field(default_factory=list)
    license: Optional[str] = None
    datasets: List[str] = field(default_factory=list)

    @staticmethod
    def of_card(text: str) -> "Declared":
        """Return what an earlier card declared.

        # Raises

        `CardError` if its front matter can't be read.
        """
        hub = require_hub()
        try:
            data = hub.ModelCard(text).data.to_dict()
        except Exception as error:  # yaml has errors of its own
            reason = " ".join(str(error).split())
            raise CardError(f"the card's front matter can't be read: {reason}") from error
        name = data.get("license")
        return Declared(
            _listed(data.get("language")),
            name if isinstance(name, str) else None,
            _listed(data.get("datasets")),
        )

    def updated(self, other: "Declared") -> "Declared":
        """Return this with what another declares in its place."""
        return Declared(
            other.language or self.language,
            other.license or self.license,
            other.datasets or self.datasets,
        )


def require_hub() -> Any:
    """Return the library `huggingface_hub`.

    # Raises

    `CardError` that says how to install it, if it is missing.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise CardError(f"a model card needs huggingface_hub: {INSTALL}") from error
    return huggingface_hub


def front_matter(facts: Facts, declared: Declared) -> str:
    """Return the front matter of a card, with the lines around it."""
    hub = require_hub()
    results = _results(facts)
    datasets = declared.datasets or facts.hub_datasets
    known: Dict[str, Any] = {
        "language": declared.language,
        "license": declared.license,
        "datasets": datasets,
        "base_model": _base_model(facts),
        "metrics": sorted({result.metric_type for result in results}),
        "model_name": facts.name if results else None,
        "eval_results": results,
    }
    data = hub.ModelCardData(
        library_name="sledgehammer",
        pipeline_tag="text-classification",
        tags=["early-exit", "calibration", facts.exported.get("runtime", "pytorch")],
        **{name: value for name, value in known.items() if value},
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _base_model(facts: Facts) -> Optional[str]:
    name = facts.reader.get("model_name") or facts.model.get("model_name")
    return name if isinstance(name, str) and is_hub_name(name) else None


def _results(facts: Facts) -> List[Any]:
    """Return what was measured, as the hub lists it; nothing if nothing was."""
    if facts.curve is not None:
        return _curve_results(facts)
    accuracy = facts.metrics.get(f"best_validation_exit_{facts.exit_layers[-1]}_accuracy")
    if not isinstance(accuracy, float):
        return []
    name = "Accuracy of the last exit, on rows that chose the epoch and fitted the temperatures"
    data = facts.data("validation_data_path") or "validation data"
    return [_result(facts, data, "accuracy", accuracy, name)]


def _curve_results(facts: Facts) -> List[Any]:
    curve = facts.curve
    assert curve is not None
    data = shown_data(curve.data)
    used = " and ".join(
        verb
        for name, verb in (
            ("temperatures", "fitted the temperatures"),
            ("threshold", "chose the setting"),
        )
        if curve.used_for.get(name)
    )
    aside = f", on rows that {used}" if used else ""
    results = []
    for point, where in (
        (curve.default, "at the default setting"),
        (curve.full, "with all layers"),
    ):
        for metric, name in (("accuracy", "Accuracy"), ("macro_f1", "Macro-F1")):
            kind = "accuracy" if metric == "accuracy" else "f1"
            value = round(float(point[metric]), 4)
            results.append(_result(facts, data, kind, value, f"{name} {where}{aside}"))
    return results


def _result(facts: Facts, data: str, metric: str, value: float, name: str) -> Any:
    # The hub wants a dataset's type: its name there, if it has one.
    kind = next(iter(facts.hub_datasets), "other")
    return require_hub().EvalResult(
        task_type="text-classification", dataset_type=kind, dataset_name=data,
        metric_type=metric, metric_value=value, metric_name=name,
    )  # fmt: skip


def _listed(value: Any) -> List[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]
