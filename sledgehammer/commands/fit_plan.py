"""Plan what `sledgehammer fit` trains: which rows, which exits, how much in the minutes there are."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import _jsonnet
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Vocabulary
from allennlp.models import Model

from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.holdout import PARTS, split_path
from sledgehammer.dataset_readers.tables import TableReader, format_of
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network import pretrained
from sledgehammer.training.pace import seconds_per_row

TEMPLATE = Path(__file__).parent.parent / "training/own.libsonnet"

EXIT_DEPTHS = (1 / 6, 1 / 3, 1 / 2, 1)
"""Where exits stand, as shares of the network's layers."""

FEWEST_ROWS = 64
"""With fewer training rows nothing is learned."""

HELD_OUT = {"validation": (0.1, 1500), "calibration": (0.15, 4000), "test": (0.15, 4000)}
"""The share of the rows of each held-out part, and how many rows are enough however many there
are."""

VALIDATION_COST = 1 / 3
"""What a validation row costs, in training rows: a forward pass without the backward one."""


@dataclass
class FitOptions:
    """Hold what a user says of a model to fit.

    # Parameters

    data : `str`
        A table; see `TableReader`.
    text : `List[str]`
        The columns with the text.
    label : `str`
    output : `Path`
        A folder.
    columns : `Dict[str, Any]`, optional
        More arguments of the reader, such as `second_text` or `group`.
    backbone : `str`, optional
    objective : `str`, optional
        The name of a training objective.
    minutes : `float`, optional
        How long the network may train; no limit if `None`.
    max_accuracy_drop, delta : `float`, optional
        The guarantee: with probability 1 - delta the chosen threshold costs at most that accuracy.
    epochs : `int`, optional
        As many, whatever the minutes. If `None`, as many as the config says, or fewer where the
        minutes are not enough for so many over all rows.
    class_weights : `Any`, optional
        See `MultiExitClassifier`.
    """

    data: str
    text: List[str]
    label: str
    output: Path
    columns: Dict[str, Any] = field(default_factory=dict)
    backbone: Optional[str] = None
    objective: Optional[str] = None
    minutes: Optional[float] = None
    max_accuracy_drop: float = 0.01
    delta: float = 0.1
    epochs: Optional[int] = None
    class_weights: Any = None

    def __post_init__(self) -> None:
        for name in ("max_accuracy_drop", "delta"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigurationError(
                    f"{name} must be between 0 and 1, got {getattr(self, name)}"
                )
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise ConfigurationError(f"minutes must be above 0, got {self.minutes}")
        if split_path(self.data)[1]:
            raise ConfigurationError(
                f"{self.data!r} names a part: fit divides the rows itself, give the whole table"
            )


class FitPlan(NamedTuple):
    """Hold a training config, and what it comes to.

    # Parameters

    config : `Dict[str, Any]`
    rows : `Dict[str, int]`
        How many rows each part has.
    labels : `Dict[str, int]`
        How many rows each label has.
    training_rows : `int`
        How many of the training rows the network learns from.
    """

    config: Dict[str, Any]
    rows: Dict[str, int]
    labels: Dict[str, int]
    training_rows: int


def make_plan(options: FitOptions) -> FitPlan:
    """Read all rows, and return what is to be trained.

    # Raises

    `ConfigurationError` for rows that cannot be read, or are too few.
    """
    config = config_of(options)
    total = sum(1 for _ in _reader_of(config).selected_rows(options.data))
    held_out = {part: min(share, most / max(total, 1)) for part, (share, most) in HELD_OUT.items()}
    config = config_of(options, held_out)
    reader = _reader_of(config)
    parts = {part: list(reader.selected_rows(f"{options.data}#{part}")) for part in PARTS}
    labels = Counter(str(row.label) for rows in parts.values() for row in rows)
    _check(parts, labels, options)
    training = len(parts["train"])
    if options.minutes is not None:
        pace = _seconds_per_row(config, reader, parts["train"])
        most = config["trainer"]["num_epochs"]
        fewest = most if options.epochs is not None else 1
        affordable, epochs = affordable_rows(
            options.minutes * 60 / pace, training, len(parts["validation"]), (fewest, most)
        )
        if affordable < training:
            train_share = (1 - sum(held_out.values())) * affordable / training
            held_out["train"], training = train_share, affordable
        config = config_of(replace(options, epochs=epochs), held_out)
    counts = {part: len(rows) for part, rows in parts.items()}
    return FitPlan(config, counts, dict(labels), training)


def affordable_rows(
    budget: float, rows: int, validation_rows: int, epochs: Tuple[int, int]
) -> Tuple[int, int]:
    """Return how many training rows a budget is enough for, and how often the network sees each.

    A new row teaches more than an old one seen again, so that passes are cut before rows are.

    # Parameters

    budget : `float`
        How many training rows the network can learn from in all.
    rows : `int`
        The training rows there are.
    validation_rows : `int`
        What each epoch is validated on.
    epochs : `Tuple[int, int]`
        The fewest epochs and the most.

    # Returns

    At least `FEWEST_ROWS` rows, whatever the budget.
    """
    fewest, most = epochs
    for count in range(most, fewest - 1, -1):
        affordable = int(budget / count - VALIDATION_COST * validation_rows)
        if affordable >= rows:
            return rows, count
    return max(affordable, FEWEST_ROWS), fewest


def _reader_of(config: Dict[str, Any]) -> TableReader:
    """Return the reader of a config that knows all training rows."""
    settings = json.loads(json.dumps(config["validation_dataset_reader"]))
    reader = DatasetReader.from_params(Params(settings))
    assert isinstance(reader, TableReader)
    return reader


def config_of(options: FitOptions, shares: Optional[Mapping[str, float]] = None) -> Dict[str, Any]:
    """Return the training config of some options.

    # Parameters

    shares : `Mapping[str, float]`, optional
        The share of the rows of each part, of which `train` is what trains the network: all rows
        that are not held out if it is not named.
    """
    held_out = dict(shares or {part: share for part, (share, _) in HELD_OUT.items()})
    train_share = held_out.pop("train", None)
    default = json.loads(_jsonnet.evaluate_snippet("", f'(import "{TEMPLATE}").backbone'))
    backbone = options.backbone or default
    format = format_of(options.data, "hf" if not Path(options.data).is_file() else "csv")
    text = options.text[0] if len(options.text) == 1 else options.text
    values = {
        "data": options.data, "text": text, "label": options.label, "backbone": backbone,
        "columns": {"type": f"sledgehammer_{format}", **options.columns},
        "exit_layers": exits_of(pretrained.load_config(backbone).num_hidden_layers),
        "held_out": held_out, "train_share": train_share, "class_weights": options.class_weights,
    }  # fmt: skip
    if options.epochs is not None:
        values["epochs"] = options.epochs
    hidden = ", ".join(f"{name}:: {json.dumps(value)}" for name, value in values.items())
    objective = json.dumps({"type": options.objective or "joint"})
    snippet = f'(import "{TEMPLATE}") {{ {hidden} }} + {{ model+: {{ objective: {objective} }} }}'
    return json.loads(_jsonnet.evaluate_snippet("fit", snippet))


def exits_of(layers: int) -> List[int]:
    """Return the layers that get an exit, of a network with so many."""
    return sorted({max(round(share * layers), 1) - 1 for share in EXIT_DEPTHS})


def _check(parts: Dict[str, List[Row]], labels: Dict[str, int], options: FitOptions) -> None:
    if len(parts["train"]) < FEWEST_ROWS:
        raise ConfigurationError(
            f"{options.data!r} has {len(parts['train'])} rows to train on: {FEWEST_ROWS} are needed"
        )
    known = {row.label for row in parts["train"]}
    if len(known) < 2:
        raise ConfigurationError(
            f"{options.data!r}: column {options.label!r} has one label, {known.pop()!r}: two are "
            "needed"
        )
    if unseen := sorted(label for label in labels if label not in known):
        raise ConfigurationError(
            f"{options.data!r}: no training row has the label {unseen[0]!r}, which "
            f"{labels[unseen[0]]} other rows have: leave it out, or merge it with another "
            "(label_map)"
        )


def _seconds_per_row(config: Dict[str, Any], reader: TableReader, rows: List[Row]) -> float:
    """Return how long it takes here to learn from a row, by timing a few steps."""
    vocab = Vocabulary()
    for label in sorted({str(row.label) for row in rows}):
        vocab.add_token_to_namespace(label, "labels")
    settings = {**config["model"], "model_name": config["dataset_reader"]["model_name"]}
    settings.pop("class_weights", None)
    settings["objective"] = {"type": "joint"}  # others may need a run that has begun
    model = Model.from_params(Params(settings), vocab=vocab)
    assert isinstance(model, MultiExitClassifier)
    batch_size = config["data_loader"]["batch_sampler"]["batch_size"]
    return seconds_per_row(model, reader, rows, batch_size)


def command_line(command: Tuple[str, ...]) -> str:
    """Return a command as a shell takes it."""
    import shlex

    return shlex.join(("sledgehammer", *command))
