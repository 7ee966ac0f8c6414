"""Load batches for evaluation, with rows of about the same length together."""

from typing import Optional

from allennlp.common.checks import ConfigurationError
from allennlp.data import DataLoader, DatasetReader
from allennlp.data.data_loaders import MultiProcessDataLoader
from allennlp.data.samplers import BucketBatchSampler


@DataLoader.register("sledgehammer_sorted")
class SortedDataLoader(MultiProcessDataLoader):
    """Load batches as AllenNLP's loader does, but shortest rows first, so that padding is rare.

    Unlike a `bucket` sampler in a config it takes a `batch_size`, so that
    `allennlp evaluate --batch-size` works.

    # Parameters

    reader : `DatasetReader`
    data_path : `str`
    batch_size : `int`
        At least 1.
    num_workers : `int`, optional (default = `0`)
    max_instances_in_memory : `int`, optional
        If given, so many rows at a time are read, and sorted among themselves.
    quiet : `bool`, optional (default = `False`)

    # Raises

    `ConfigurationError` for a batch size below 1.
    """

    def __init__(
        self,
        reader: DatasetReader,
        data_path: str,
        *,
        batch_size: int,
        num_workers: int = 0,
        max_instances_in_memory: Optional[int] = None,
        quiet: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1, got {batch_size}")
        super().__init__(
            reader,
            data_path,
            batch_sampler=BucketBatchSampler(batch_size, sorting_keys=["tokens"], shuffle=False),
            num_workers=num_workers,
            max_instances_in_memory=max_instances_in_memory,  # type: ignore[arg-type]
            quiet=quiet,
        )
