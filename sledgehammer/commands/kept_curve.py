"""Write what an exported model carries with it: its curve, and a reference to notice drift by."""

from pathlib import Path
from typing import List

from sledgehammer.analysis.all_exits import ExitOutputs, run_all_exits
from sledgehammer.analysis.kept_curve import measure_curve, without_training_rows
from sledgehammer.commands.seen_rows import warn
from sledgehammer.dataset_readers.base import Row
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.monitoring.reference import LEAST_ROWS, Reference


def keep_curve(folder: Path, rows: List[Row], data: str, batch_size: int = 64) -> None:
    """Run an exported model on labelled rows, and write its curve and its reference beside it.

    Its manifest must be written again afterwards.

    # Parameters

    folder : `Path`
    data : `str`
        Where the rows come from.
    """
    exported = open_archive(str(folder))
    outputs = run_all_exits(exported.model, exported.reader, rows, batch_size)
    keep_curve_of(folder, exported, outputs, data)


def keep_curve_of(folder: Path, exported: Opened, outputs: ExitOutputs, data: str) -> None:
    """Write the curve and the reference of an exported model that has run all exits on some rows.

    Rows that trained the model are left out. See `keep_curve`.
    """
    rows = len(outputs.hashes)
    unused = without_training_rows(exported, outputs)
    if unused is None:
        warn([f"no curve is kept: all {rows} rows of {data} trained the model"])
        return
    if left_out := rows - len(unused.hashes):
        warn([f"the curve leaves out {left_out} of {rows} rows, which trained the model"])
    measure_curve(exported, unused, data).save(folder)
    if len(unused.hashes) < LEAST_ROWS:
        print(f"no reference to notice drift by: that needs {LEAST_ROWS} rows of {data}")
        return
    reference_of(exported, unused).save(folder)


def reference_of(opened: Opened, outputs: ExitOutputs) -> Reference:
    """Return the histograms of some rows: what the first exit says of them, and their lengths."""
    first = opened.model.calibrated(outputs.logits)[:, 0]
    confidence, label = first.max(dim=-1)
    labels = len(opened.model.labels)
    return Reference.of(confidence.numpy(), label.numpy(), labels, outputs.tokens.numpy())
