"""Some more epochs of training for a model that came out of an archive."""

import copy
import sys
import tempfile
from typing import Any, Dict, Iterable, List, Optional, Sequence

from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.common.util import prepare_environment
from allennlp.data import DataLoader, DatasetReader, Instance
from allennlp.training import Trainer
from allennlp.training.callbacks import TrainerCallback

from sledgehammer.dataset_readers.base import TOKENISED_TOGETHER, Row, TransformerReader
from sledgehammer.model import MultiExitClassifier

_SEEDS = ("random_seed", "numpy_seed", "pytorch_seed")


class GivenRows(DatasetReader):
    """Reads rows that are there already, whatever the path.

    # Parameters

    reader : `TransformerReader`
        Makes instances of them.
    rows : `Sequence[Row]`
    """

    def __init__(self, reader: TransformerReader, rows: Sequence[Row]) -> None:
        super().__init__()
        self._reader = reader
        self._rows = rows

    def _read(self, file_path: Any) -> Iterable[Instance]:
        for start in range(0, len(self._rows), TOKENISED_TOGETHER):
            yield from self._reader.instances(self._rows[start : start + TOKENISED_TOGETHER])


def fine_tune(
    model: MultiExitClassifier,
    reader: TransformerReader,
    rows: Sequence[Row],
    validation_rows: Sequence[Row],
    config: Dict[str, Any],
    epochs: int,
    learning_rate: Optional[float] = None,
    cuda_device: int = -1,
) -> None:
    """Train a model in place, by AllenNLP's trainer; it ends with the weights of the best epoch.

    # Parameters

    rows, validation_rows : `Sequence[Row]`
        Labelled. The trainer judges epochs, and fits the temperatures, on the latter.
    config : `Dict[str, Any]`
        The archive's: its `trainer`, `data_loader` and seeds are used.
    epochs : `int`
        At least 1; takes the place of the config's number.
    learning_rate : `float`, optional
        In the place of `trainer.optimizer.lr`; rates of parameter groups stay.

    # Raises

    `ConfigurationError` for a config that AllenNLP refuses.
    """
    prepare_environment(Params({name: config[name] for name in _SEEDS if name in config}))
    sorted_by_length = {"type": "sledgehammer_sorted", "batch_size": 64}
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer.from_params(
            _trainer_params(config, epochs, learning_rate, cuda_device),
            model=model,
            data_loader=_loader(config["data_loader"], model, reader, rows),
            validation_data_loader=_loader(sorted_by_length, model, reader, validation_rows),
            serialization_dir=directory,
        )
        trainer.train()
    model.get_metrics(reset=True)
    model.eval()


def _loader(
    config: Dict[str, Any],
    model: MultiExitClassifier,
    reader: TransformerReader,
    rows: Sequence[Row],
) -> DataLoader:
    params = Params(copy.deepcopy(config))
    loader = DataLoader.from_params(params, reader=GivenRows(reader, rows), data_path="rows")
    loader.index_with(model.vocab)
    return loader


def _trainer_params(
    config: Dict[str, Any], epochs: int, learning_rate: Optional[float], cuda_device: int
) -> Params:
    trainer = copy.deepcopy(config["trainer"])
    trainer["num_epochs"] = epochs
    trainer["cuda_device"] = cuda_device
    trainer["callbacks"] = _known_callbacks(trainer.get("callbacks", []))
    if learning_rate is not None:
        trainer.setdefault("optimizer", {})["lr"] = learning_rate
    return Params(trainer)


def _known_callbacks(callbacks: List[Any]) -> List[Any]:
    """Without those that only the program which trained the archive knows (a progress bar)."""
    known = []
    for callback in callbacks:
        name = callback if isinstance(callback, str) else callback["type"]
        try:
            TrainerCallback.by_name(name)
        except ConfigurationError:
            print(f"warning: no trainer callback {name!r} here: left out", file=sys.stderr)
        else:
            known.append(callback)
    return known
