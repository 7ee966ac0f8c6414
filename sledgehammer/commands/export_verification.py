"""Report what an export changes, for `allennlp export --verify`."""

from pathlib import Path
from typing import Any, Dict, List

from sledgehammer.analysis.agreement import Agreement, compare
from sledgehammer.analysis.all_exits import replayed_answers, run_all_exits
from sledgehammer.analysis.isolation import NOTICEABLE, Isolation, isolation_of
from sledgehammer.commands.agreement_report import agreement_cells
from sledgehammer.commands.base import as_json, print_table
from sledgehammer.dataset_readers.base import Row
from sledgehammer.engine import Engine
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.model.exported import ExportedClassifier
from sledgehammer.support.jsonl import text_or_pair

BATCHES = 50
"""In how many random batches rows run with other rows."""


def verify(
    opened: Opened, folder: Path, rows: List[Row], data: str, batch_size: int
) -> Dict[str, Any]:
    """Compare an exported model with its archive, and its answers alone with those in batches.

    The results are printed.

    # Parameters

    opened : `Opened`
        The archive.
    folder : `Path`
        The exported model.
    data : `str`
        Where the rows come from.

    # Returns

    The results as JSON can hold them.
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
    """Compare archive and exported model; the latter runs each row alone, as if it were served."""
    outputs = [
        run_all_exits(*opened, rows, batch_size), run_all_exits(*exported, rows, batch_size=1)
    ]  # fmt: skip
    # Each model applies its own temperatures.
    before, after = (
        replayed_answers(either.model, answers)
        for either, answers in zip((opened, exported), outputs)
    )
    return compare(before, after, opened.model.exit_layers, outputs[0].label)


def _isolation(engine: Engine, rows: List[Row]) -> Isolation:
    texts = [text_or_pair(row.texts) for row in rows]
    return isolation_of(engine, engine.tokenizer.encode(texts), BATCHES)


def _isolation_in_words(isolation: Isolation) -> str:
    tried = f"{isolation.batches} random batches ({isolation.rows} rows)"
    if isolation.is_complete:
        return (
            f"a text's answer does not depend on its neighbours: in {tried} they changed no label "
            f"and no exit, and no probability by more than {isolation.probability_difference:.1g}"
        )
    return (
        f"a text's answer depends on its neighbours: in {tried} {isolation.labels} labels, "
        f"{isolation.exits} exits and {isolation.probabilities} probabilities (by more than "
        f"{NOTICEABLE:g}, at most {isolation.probability_difference:.2g}) were not those of the text "
        "alone"
    )
