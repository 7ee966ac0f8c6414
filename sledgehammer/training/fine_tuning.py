"""Train a model from an archive for some more epochs."""

import copy
import sys
from typing import Any, Dict, Iterable, Optional, Sequence

from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.common.util import prepare_environment
from allennlp.data import DataLoader, DatasetReader, Instance
from allennlp.training import Trainer
from allennlp.training.callbacks import TrainerCallback

from sledgehammer.dataset_readers.base import TOKENISED_TOGETHER, Row, TransformerReader
from sledgehammer.model.archive_files import copy_folder
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.pretrained import SNAPSHOT
from sledgehammer.objectives import ExitObjective
from sledgehammer.objectives.base import LossOverAllExits
from sledgehammer.support.owned import scratch_folder

_SEEDS = ("random_seed", "numpy_seed", "pytorch_seed")
_BY_LENGTH = {"type": "sledgehammer_sorted", "batch_size": 64}
"""The data loader of validation rows."""


class GivenRows(DatasetReader):
    """Yield instances of rows that are in memory already, whatever the path.

    # Parameters

    reader : `TransformerReader`
        Turns the rows into instances.
    rows : `Sequence[Row]`
    """

    def __init__(self, reader: TransformerReader, rows: Sequence[Row]) -> None:
        super().__init__()
        self.reader = reader
        self.rows = rows

    def _read(self, file_path: Any) -> Iterable[Instance]:
        for start in range(0, len(self.rows), TOKENISED_TOGETHER):
            yield from self.reader.instances(self.rows[start : start + TOKENISED_TOGETHER])


def adapted(
    config: Dict[str, Any], epochs: int, learning_rate: Optional[float], cuda_device: int
) -> Dict[str, Any]:
    """Return an archive's config, changed to train for some more epochs.

    Trainer callbacks that are not registered here are left out, with a warning: the program that
    trained the archive may have had its own, such as a progress bar.

    # Parameters

    epochs : `int`
        At least 1.
    learning_rate : `float`, optional
        Replaces `trainer.optimizer.lr`; the rates of parameter groups stay.
    cuda_device : `int`
        The GPU to train on; -1 for the CPU.
    """
    changed = copy.deepcopy(config)
    trainer = changed["trainer"]
    trainer["num_epochs"] = epochs
    trainer["cuda_device"] = cuda_device
    trainer["callbacks"] = list(filter(_is_known, trainer.get("callbacks", [])))
    if learning_rate is not None:
        trainer.setdefault("optimizer", {})["lr"] = learning_rate
    return changed


def objective_for(objective: ExitObjective, epochs: int) -> ExitObjective:
    """Return an objective that trains every exit in so many epochs.

    That is the objective itself, or, if it has stages and the epochs are too few for them, the sum
    of the stages' losses.
    """
    try:
        objective.check_epochs(epochs)
    except ConfigurationError:
        return LossOverAllExits(objective)
    return objective


def fine_tune(
    archive: str,
    model: MultiExitClassifier,
    reader: TransformerReader,
    rows: Sequence[Row],
    validation_rows: Sequence[Row],
    config: Dict[str, Any],
) -> None:
    """Train a model in place, by its own objective or `objective_for`, to its best epoch's weights.

    # Parameters

    archive : `str`
        The archive that the model came from.
    rows, validation_rows : `Sequence[Row]`
        Labelled rows to train on, and others to judge epochs and fit the temperatures on.
    config : `Dict[str, Any]`
        The archive's config as `adapted` returns it. Its `trainer`, `data_loader` and seeds count.

    # Raises

    `ConfigurationError` for a config that AllenNLP refuses.
    """
    prepare_environment(Params({name: config[name] for name in _SEEDS if name in config}))
    objective = model.objective
    model.objective = objective_for(objective, config["trainer"]["num_epochs"])
    with scratch_folder() as directory:
        # Any training run has the tokenizer in its folder.
        copy_folder(archive, SNAPSHOT, directory)
        Trainer.from_params(
            Params(copy.deepcopy(config["trainer"])),
            model=model,
            data_loader=_loader(config["data_loader"], model, reader, rows),
            validation_data_loader=_loader(_BY_LENGTH, model, reader, validation_rows),
            serialization_dir=str(directory),
        ).train()
    model.objective = objective
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


def _is_known(callback: Any) -> bool:
    name = callback if isinstance(callback, str) else callback["type"]
    try:
        TrainerCallback.by_name(name)
    except ConfigurationError:
        print(
            f"warning: the trainer callback {name!r} is not registered here: left out",
            file=sys.stderr,
        )
        return False
    return True
