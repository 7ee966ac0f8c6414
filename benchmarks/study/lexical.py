"""Give trained runs the help of a linear model on words: an exit in front, mixed into all others.

No network is trained for this: the linear model is fitted once to a dataset's training rows, and
its weight at each exit on the validation rows, as `sledgehammer lexical` does.
"""

import json
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from benchmarks.study.plan import FULL_LAYERS, Dataset, Run, data_root, test_path
from benchmarks.study.training import archive
from sledgehammer.analysis.all_exits import ExitOutputs
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.calibration import Scaling, fit_scalings, fit_temperature, mixed
from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.lexical import LinearModel
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.support.files import replacing
from sledgehammer.training.lexical_exit import fit_lexical_exit, labelled_rows

IN_FRONT = {"multi_exit": {"lexical": False, "lexical_mixing": True}}
"""Systems that are made of a trained one by an exit in front, and whether that is mixed in too."""

MIXED_IN = {
    name: f"{name}_mixing" for name in ("standard", "efficient_0", "efficient_1", "efficient_3")
}
"""Systems that are made of a trained baseline, whose one exit is mixed."""

NAMES = [*IN_FRONT["multi_exit"], *MIXED_IN.values()]


class Words(NamedTuple):
    """Hold the linear model's logits, (rows, labels), of the validation and the test rows."""

    validation: Tensor
    test: Tensor


def words_of(dataset: Dataset, done: List[Run], data: Optional[str], out: Path) -> Optional[Words]:
    """Fit the linear model of a dataset, or load it from its file, and run it.

    It depends on the rows alone, not on the run whose reader and labels it takes.

    # Returns

    `None` if there is no trained run.
    """
    if not done:
        return None
    config = json.dumps({"model.lexical": {}})
    model, reader = open_archive(str(archive(done[0], out)), overrides=config)
    assert model.lexical is not None, "the config asks for it"
    file = out / dataset.name / "lexical.npz"
    validation = validation_rows(dataset, reader, data)
    if file.is_file():
        model.lexical.linear = LinearModel.load(file)
    else:
        training = _rows(reader, f"{data_root(dataset, data)}{dataset.train}#train", None)
        parts = [labelled_rows(model, reader, rows) for rows in (training, validation)]
        fitted = fit_lexical_exit(model, reader, *parts)
        with replacing(file) as partial, open(partial, "wb") as opened:
            fitted.model.save(opened)
    test = _rows(reader, test_path(dataset, data), dataset.test_rows)
    return Words(
        *(
            model.lexical.logits(reader.pieces([row.texts for row in rows]))
            for rows in (validation, test)
        )
    )


def validation_rows(dataset: Dataset, reader: TransformerReader, data: Optional[str]) -> List[Row]:
    """Return the rows on which everything is calibrated."""
    return _rows(reader, f"{data_root(dataset, data)}{dataset.train}#validation", None)


def _rows(reader: TransformerReader, path: str, limit: Optional[int]) -> List[Row]:
    reader.max_instances = limit
    return read_rows(reader, path)


def helped(
    system: str, opened: Opened, words: Words, validation: ExitOutputs, test: ExitOutputs
) -> Dict[str, Tuple[List[Point], List[Scaling]]]:
    """Return the curves of the systems that a trained run becomes with the help, and the scalings.

    # Parameters

    system : `str`
        The trained system.
    validation, test : `ExitOutputs`
        Of the network alone.
    """
    before, after = (
        torch.cat([lexical[:, None], outputs.logits], dim=1)
        for lexical, outputs in zip(words, (validation, test))
    )
    assert validation.label is not None and test.label is not None
    scalings = fit_scalings(before, validation.label)
    layers = [-1, *opened.model.exit_layers]
    if system in MIXED_IN:
        curve = _curve(opened, _probs(after, scalings)[:, 1:], test.label, layers[1:])
        return {MIXED_IN[system]: (curve, scalings[1:])}
    results = {}
    for name, mixes in IN_FRONT.get(system, {}).items():
        own = scalings if mixes else _without_mixing(before, validation.label)
        results[name] = _curve(opened, _probs(after, own), test.label, layers), own
    return results


def _without_mixing(logits: Tensor, label: Tensor) -> List[Scaling]:
    return [Scaling(fit_temperature(each, label), 0.0) for each in logits.unbind(dim=1)]


def _probs(logits: Tensor, scalings: List[Scaling]) -> Tensor:
    temperatures, mixing = (torch.tensor(values) for values in zip(*scalings))
    return torch.softmax(mixed(logits, mixing) / temperatures[:, None], dim=-1)


def _curve(opened: Opened, probs: Tensor, label: Tensor, layers: List[int]) -> List[Point]:
    tradeoff = Tradeoff(probs, label, layers, FULL_LAYERS, opened.model.policy)
    return tradeoff.curve(tradeoff.grid() if len(layers) > 1 else [1.0])
