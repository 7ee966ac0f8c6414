"""Write the sections of a card in Markdown."""

from typing import Any, Dict, Iterator, List, Sequence

from sledgehammer.cards.facts import Facts, shown_data
from sledgehammer.cards.metadata import Declared

MOST_LABELS = 50
CURVE_ROWS = 8
"""About how many points of the curve are shown."""

USE = """\
## Use

```python
import sledgehammer

classifier = sledgehammer.load("hub:OWNER/NAME")  # or the place of this model on a disk
classifier.predict([{example}])
```
"""


def body(facts: Facts, declared: Declared) -> str:
    """Return a card without its front matter."""
    parts = [
        f"# {_plain(facts.name)}",
        _summary(facts),
        USE.format(example='("A premise.", "A hypothesis.")' if _is_of_pairs(facts) else '"A text."'),
        "## Data",
        _bullets(_data(facts, declared)),
        "## Backbone and exits",
        _bullets(_structure(facts)),
        "## Curve",
        *_curve(facts),
        "## Calibration",
        *_calibration(facts),
        "## Setting and guarantee",
        *_setting(facts),
        "## Speed",
        *_speed(facts),
        "## Limits",
        _bullets(_limits(facts, declared)),
    ]  # fmt: skip
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def code(text: object) -> str:
    """Return a text as Markdown shows it literally, in one line."""
    line = " ".join(str(text).split())
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def table(rows: Sequence[Dict[str, str]]) -> str:
    """Return a Markdown table; all rows have the keys of the first."""
    names = list(rows[0])
    lines = [names, ["---:"] * len(names), *([row[name] for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


def _bullets(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _is_of_pairs(facts: Facts) -> bool:
    return bool(facts.reader.get("second_text")) or facts.reader.get("type") in (
        "sledgehammer_snli", "sledgehammer_multinli",
    )  # fmt: skip


def _summary(facts: Facts) -> str:
    kind = "pairs of texts" if _is_of_pairs(facts) else "texts"
    labels = f"{len(facts.labels)} labels and " if facts.labels else ""
    text = (
        f"A classifier of {kind} with {labels}{len(facts.exit_layers)} exits: a text is answered by "
        "the first exit that is sure enough, so that easy texts run few layers."
    )
    if facts.used_rows.get("temperatures"):
        text += (
            " The exits are calibrated: what they call their confidence was fitted to how often "
            "they are right."
        )
    return text


def _data(facts: Facts, declared: Declared) -> Iterator[str]:
    training = facts.data("train_data_path")
    reader = facts.reader.get("type")
    rows = facts.used_rows.get("weights", 0)
    yield (
        (f"Trained on {code(training)}" if training else "What it was trained on is not known")
        + (f", read by {code(reader)}" if reader else "")
        + (f": {rows:,} different texts." if rows else "; how many texts is not known.")
    )
    if validation := facts.data("validation_data_path"):
        yield f"Validated on {code(validation)}, while it was trained."
    for name in declared.datasets or facts.hub_datasets:
        yield f"Dataset on the hub: [{_plain(name)}](https://huggingface.co/datasets/{name})."
    shown = ", ".join(code(label) for label in facts.labels[:MOST_LABELS])
    more = len(facts.labels) - MOST_LABELS
    yield f"Labels: {shown or 'not known'}" + (f" and {more} more." if more > 0 else ".")
    yield "Language: " + (", ".join(declared.language) if declared.language else "not known") + "."


def _structure(facts: Facts) -> Iterator[str]:
    yield (
        "Backbone: "
        + (code(facts.backbone) if facts.backbone else "not known")
        + (f", {facts.full_layers} layers." if facts.full_layers else ".")
    )
    layers = ", ".join(str(layer) for layer in facts.exit_layers if layer >= 0)
    before = (
        ", and one before the first layer that reads n-grams" if facts.exit_layers[0] < 0 else ""
    )
    yield f"Exits after the layers {layers} (counted from 0){before}."
    if pooling := facts.model.get("pooling"):
        yield f"Pooling: {code(pooling)}."
    longest = facts.reader.get("max_length")
    if isinstance(longest, int):
        yield f"Texts are cut off after {longest} word pieces."
    if facts.exported:
        yield f"Exported for {facts.exported['runtime']} in {facts.exported['precision']}."
    else:
        yield f"Answers in {facts.conditions.number_format}."
    if "rows" in facts.verification:
        found = facts.verification
        yield (
            f"Against the archive, on {found['rows']:,} rows: {found['labels']:.2%} of the labels "
            f"and {found['exits']:.2%} of the exits are the same."
        )


def _curve(facts: Facts) -> Iterator[str]:
    curve = facts.curve
    if curve is None:
        yield "Not measured on labelled rows."
        if any(
            f"best_validation_exit_{layer}_accuracy" in facts.metrics for layer in facts.exit_layers
        ):
            yield from _exits_in_training(facts)
        return
    used = [
        f"{count:,} of them {verb}"
        for name, verb in (
            ("temperatures", "also fitted the temperatures"),
            ("threshold", f"also chose the {curve.sweeps}"),
        )
        if (count := curve.used_for.get(name, 0))
    ]
    yield (
        f"Measured on {curve.rows:,} rows of {code(shown_data(curve.data))}, none of which trained "
        "the model" + "".join(f"; {use}" for use in used) + "."
    )
    points = [(point, "") for point in _spread(curve.points[:-1])]
    points += [(curve.full, "all layers"), (curve.default, "**default**")]
    order = sorted(points, key=lambda pair: pair[0]["mean_layers"])
    yield table([_point_cells(point, name, facts) for point, name in order])
    cells = {
        f"exit {layer}": f"{a:.1%}" for layer, a in zip(curve.exit_layers, curve.exit_accuracy)
    }
    yield "Accuracy of each exit, if it answers all of these rows:"
    yield table([cells])


def _spread(points: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Return a few points of a curve, as far from each other in layers as they can be."""
    if not points:
        return []
    first, last = points[0]["mean_layers"], points[-1]["mean_layers"]
    targets = [first + (last - first) * i / (CURVE_ROWS - 1) for i in range(CURVE_ROWS)]
    nearest = {
        min(range(len(points)), key=lambda i: abs(points[i]["mean_layers"] - target))
        for target in targets
    }
    return [points[i] for i in sorted(nearest)]


def _point_cells(point: Dict[str, Any], name: str, facts: Facts) -> Dict[str, str]:
    curve = facts.curve
    assert curve is not None
    layers = point["mean_layers"]
    cells = {
        curve.sweeps: _number(point["setting"]),
        "": name,
        "accuracy": f"{point['accuracy']:.1%}",
        "macro-F1": f"{point['macro_f1']:.3f}",
        "mean layers": f"{layers:.2f}",
        "layer speedup": f"{curve.full_layers / layers:.2f}x" if layers else "no layers",
        "calibration error": f"{point['calibration_error']:.3f}",
    }
    shares = zip(curve.exit_layers, point["shares"])
    return {**cells, **{f"exit {layer}": f"{share:.0%}" for layer, share in shares}}


def _exits_in_training(facts: Facts) -> Iterator[str]:
    yield (
        "In training, on the validation rows, which also chose the epoch and fitted the "
        "temperatures:"
    )
    rows = []
    for layer in facts.exit_layers:
        accuracy = facts.metrics.get(f"best_validation_exit_{layer}_accuracy")
        error = facts.metrics.get(f"best_validation_exit_{layer}_ece_after")
        rows.append(
            {
                "exit": str(layer),
                "accuracy": f"{accuracy:.1%}" if isinstance(accuracy, float) else "?",
                "calibration error": f"{error:.3f}" if isinstance(error, float) else "?",
            }
        )
    yield table(rows)


def _calibration(facts: Facts) -> Iterator[str]:
    rows = facts.used_rows.get("temperatures", 0)
    if rows:
        yield f"One temperature for each exit, fitted on {rows:,} rows."
    elif all(t == 1 for t in facts.conditions.temperatures):
        yield "The temperatures were not fitted: the confidences are not calibrated."
        return
    else:
        yield "One temperature for each exit; on how many rows they were fitted is not known."
    mixing = list(facts.conditions.mixing)
    yield table(
        [
            {
                "exit": str(layer),
                "temperature": f"{temperature:.3f}",
                **({"of the first exit's logits": f"{mixing[i]:.3f}"} if mixing else {}),
            }
            for i, (layer, temperature) in enumerate(
                zip(facts.exit_layers, facts.conditions.temperatures)
            )
        ]
    )


def _setting(facts: Facts) -> Iterator[str]:
    policy = {name: value for name, value in facts.conditions.policy.items() if name != "type"}
    name = facts.conditions.policy.get("type", "confidence")
    settings = ", ".join(f"{key} {_number(value)}" for key, value in policy.items())
    yield f"Policy {code(name)}" + (f", with {settings}." if settings else ".")
    choice = facts.choice
    if choice is None:
        yield "The setting was not chosen on data, as far as is known: nothing is guaranteed of it."
        return
    wanted = " and ".join(f"{key} {value:g}" for key, value in choice.wanted.items())
    yield f"Chosen for {code(wanted)}, on {choice.rows:,} rows of {code(shown_data(choice.data))}."
    if changes := choice.problem(facts.conditions):
        lost = " Its guarantee does not hold any more." if choice.delta is not None else ""
        what = changes.partition(") with ")[2].partition(":")[0]
        yield f"**The choice no longer stands**: it was made with {what}.{lost}"
    elif choice.delta is None:
        yield "That holds on these rows; nothing is guaranteed of others."
    else:
        yield from _guarantee(facts)


def _guarantee(facts: Facts) -> Iterator[str]:
    choice = facts.choice
    assert choice is not None and choice.delta is not None
    bound = next(iter(choice.wanted.items()), ("", 0.0))
    risk = {
        "max_accuracy_drop": "the accuracy lost against running all layers",
        "max_inconsistency": "the share of answers that differ from those of all layers",
    }.get(bound[0], bound[0])
    where = " among the texts of each exit" if choice.each_exit else ""
    yield (
        f"With probability at least {1 - choice.delta:g}, {risk}{where} is at most {bound[1]:g}. "
        "The conditions:"
    )
    conditions = [
        f"the probability is over the draw of the {choice.rows:,} rows, which had no other part in "
        "the model;",
        "the texts to come are drawn as these rows were, independently of each other;",
        "weights, temperatures, number format and setting are those of this card.",
    ]
    yield _bullets(iter(conditions))


def _speed(facts: Facts) -> Iterator[str]:
    if facts.speed is None and not facts.timings:
        yield "Not measured."
        return
    if facts.speed is not None:
        speed = facts.speed
        yield (
            f"Mean of {speed.texts:,} texts, each alone: {1000 * speed.early_seconds:.1f} ms at the "
            f"setting {_number(speed.setting)}, {1000 * speed.full_seconds:.1f} ms with all layers "
            f"({speed.full_seconds / speed.early_seconds:.1f}x), on {_machine(speed.machine)}."
        )
    if facts.timings:
        yield f"Milliseconds a text, all exits, on random word pieces, on {_machine(_timed(facts))}:"
        yield table(
            [
                {
                    "precision": name,
                    "single": f"{times['single']:.2f}",
                    "in batches": f"{times['batch']:.2f}",
                }
                for name, times in facts.timings["precisions"].items()
            ]
        )


def _timed(facts: Facts) -> Dict[str, Any]:
    machine = facts.timings.get("machine")
    return machine if isinstance(machine, dict) else {}


def _machine(machine: Dict[str, Any]) -> str:
    processor = machine.get("processor", "an unknown processor")
    return f"{_plain(str(processor))}, {machine.get('cores', '?')} cores"


def _limits(facts: Facts, declared: Declared) -> Iterator[str]:
    yield "It knows no label but these, and answers every text with one of them."
    yield (
        "Accuracy, calibration and guarantee are those of texts like its data. They say nothing of "
        "other subjects, times or languages, and nothing of how it treats groups of people: that "
        "was not measured."
    )
    if facts.exported.get("activation_scales") == "batch":
        yield "In this precision a text's answer depends on the texts that run with it."
    if facts.curve is None:
        yield "Without a curve, what another setting costs is not known."
    if not declared.license:
        yield "Its licence is not stated; that of the backbone and of the data may bind it."


def _number(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_number, value))
    return "infinite" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def versions_line(facts: Facts) -> List[str]:
    """Return the libraries that wrote the model, as a line, if they are known."""
    listed = ", ".join(f"{name} {number}" for name, number in facts.versions.items())
    return [f"Written by {listed}."] if listed else []
