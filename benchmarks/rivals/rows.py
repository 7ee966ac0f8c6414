"""Read the rows of a dataset of the study, with the word pieces that a lexical exit reads."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from allennlp.data import DatasetReader

from benchmarks.study.plan import BACKBONE, DATASETS, data_root
from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.lexical import FeatureSpace, LinearModel, Pieces
from sledgehammer.training.lexical import LabelledRows, fit


class Part(NamedTuple):
    """Hold some rows: their texts, their word pieces, and their labels as whole numbers."""

    texts: List[List[str]]
    pieces: Sequence[Pieces]
    label: np.ndarray

    def first(self, count: int) -> "Part":
        """Return the first rows."""
        return Part(self.texts[:count], self.pieces[:count], self.label[:count])


class Rows(NamedTuple):
    """Hold the parts of a dataset: `train`, `validation` and `test`."""

    reader: TransformerReader
    labels: List[str]
    parts: Dict[str, Part]

    def fit_lexical(self, count: Optional[int] = None) -> LinearModel:
        """Fit the model of a lexical exit to the first training rows, or to all."""
        train, validation = (
            LabelledRows(part.pieces, part.label)
            for part in (self.parts["train"].first(count or len(self.parts["train"].label)),
                         self.parts["validation"])
        )  # fmt: skip
        space = FeatureSpace(len(self.reader.fields))
        return fit(space, train, validation, len(self.labels)).model


def open_reader(dataset: str) -> TransformerReader:
    """Return the reader of a dataset, as the study uses it."""
    from benchmarks.study.plan import Params, config_file

    plan = DATASETS[dataset]
    config = Params.from_file(str(config_file(plan)))["dataset_reader"].as_dict(quiet=True)
    config.update(
        model_name=BACKBONE, max_length=plan.max_length, validation_size=plan.validation_rows
    )
    reader = DatasetReader.from_params(Params(config))
    assert isinstance(reader, TransformerReader)
    return reader


def labelled_rows(
    reader: TransformerReader, dataset: str, data: Optional[str]
) -> Dict[str, List[Row]]:
    """Return all rows of a dataset that have a label, by part: `train`, `validation`, `test`."""
    plan = DATASETS[dataset]
    root = data_root(plan, data)
    paths = {
        "train": f"{root}{plan.train}#train",
        "validation": f"{root}{plan.train}#validation",
        "test": root + plan.test,
    }
    return {
        part: [row for row in reader.selected_rows(path) if row.label is not None]
        for part, path in paths.items()
    }


def read_all(dataset: str, data: Optional[str], most: Optional[int] = None) -> Rows:
    """Read the labelled rows of a dataset; what the study limits is not limited here.

    # Parameters

    most : `int`, optional
        How many rows of each part to keep, the first ones; all if `None`.
    """
    reader = open_reader(dataset)
    rows = {part: all[:most] for part, all in labelled_rows(reader, dataset, data).items()}
    labels: List[Any] = sorted({row.label for row in rows["train"]})
    parts = {
        name: Part(
            [list(row.texts) for row in some],
            reader.pieces([row.texts for row in some]),
            np.array([labels.index(row.label) for row in some]),
        )
        for name, some in rows.items()
    }
    return Rows(reader, labels, parts)
