"""What an export changes, for `allennlp export --verify`."""

from pathlib import Path
from typing import Any, Dict, List

from sledgehammer.analysis.agreement import Agreement, compare
from sledgehammer.analysis.all_exits import replayed, run_all_exits
from sledgehammer.analysis.isolation import NOTICEABLE, Isolation, isolation_of
from sledgehammer.commands.agreement_report import agreement_cells
from sledgehammer.commands.base import as_json, print_table
from sledgehammer.dataset_readers.base import Row
from sledgehammer.engine import Engine
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.model.exported import ExportedClassifier

BATCHES = 200
"""Random batches in which rows meet others."""


def verify(
    opened: Opened, folder: Path, rows: List[Row], data: str, batch_size: int
) -> Dict[str, Any]:
    """Compare an exported model with its archive, and its answers alone with those in batches.

    # Parameters

    opened : `Opened`
        The archive.
    folder : `Path`
        The exported model.
    data : `str`
        What the rows are called.

    # Returns

    What was found, as JSON. It is printed, too.
    """
    exported = open_archive(str(folder))
    assert isinstance(exported.model, ExportedClassifier)
    agreement = _agreement(opened, exported, rows, batch_size)
    print(f"\nagainst the archive, on {agreement.rows} rows of {data}, with its policy:\n")
    print_table([agreement_cells(agreement)])
    isolation = _isolation(exported.model.engine, rows)
    print(f"\n{_isolation_in_words(isolation)}")
    return {"data": data, **as_json(agreement), "alone_against_batches": as_json(isolation)}


def _agreement(opened: Opened, exported: Opened, rows: List[Row], batch_size: int) -> Agreement:
    """With the exported model's rows each alone, so that it is their own answers that agree."""
    outputs = [
        run_all_exits(*opened, rows, batch_size), run_all_exits(*exported, rows, batch_size=1)
    ]  # fmt: skip
    # Each with its own temperatures.
    before, after = (
        replayed(either.model, found) for either, found in zip((opened, exported), outputs)
    )
    return compare(before, after, opened.model.exit_layers, outputs[0].label)


def _isolation(engine: Engine, rows: List[Row]) -> Isolation:
    texts = [row.texts[0] if len(row.texts) == 1 else tuple(row.texts) for row in rows]
    return isolation_of(engine, engine.tokenizer.encode(texts), BATCHES)


def _isolation_in_words(found: Isolation) -> str:
    tried = f"{found.batches} random batches ({found.rows} rows)"
    if found.is_complete:
        return (
            f"a text's answer is its own: in {tried} no label and no exit changed with the "
            f"neighbours, no probability by more than {found.probability_difference:.1g}"
        )
    return (
        f"a text's answer depends on its neighbours: in {tried} {found.labels} labels, "
        f"{found.exits} exits and {found.probabilities} probabilities (by more than "
        f"{NOTICEABLE:g}, at most {found.probability_difference:.2g}) were not those that the text "
        "has alone"
    )
