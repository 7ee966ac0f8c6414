"""Read datasets: one class for each dataset, over two small base classes."""

from sledgehammer.dataset_readers.ag_news import AgNewsReader
from sledgehammer.dataset_readers.imdb import ImdbReader
from sledgehammer.dataset_readers.nli import MultiNliReader, SnliReader
from sledgehammer.dataset_readers.sst import SstReader
from sledgehammer.dataset_readers.tables import (
    CsvReader,
    HubReader,
    JsonLinesReader,
    ParquetReader,
    TsvReader,
)
from sledgehammer.dataset_readers.unlabelled import UnlabelledReader

__all__ = [
    "AgNewsReader",
    "CsvReader",
    "HubReader",
    "ImdbReader",
    "JsonLinesReader",
    "MultiNliReader",
    "ParquetReader",
    "SnliReader",
    "SstReader",
    "TsvReader",
    "UnlabelledReader",
]
