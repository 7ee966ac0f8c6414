"""Opening what a data path names."""

import io
import socket
import tarfile
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Iterator

import pytest
from allennlp.common import file_utils
from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers import AgNewsReader
from sledgehammer.dataset_readers.files import local_path
from tests.conftest import FIXTURES, TINY_BERT
from tests.dataset_readers.tables import rows


@pytest.fixture(scope="module")
def ag_news() -> AgNewsReader:
    return AgNewsReader(model_name=TINY_BERT)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The fixtures over HTTP, with a download cache of its own."""
    monkeypatch.setattr(file_utils, "CACHE_DIRECTORY", str(tmp_path / "cache"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(FIXTURES))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.mark.parametrize("missing", ["nowhere.csv", "nowhere.zip!train.csv"])
def test_missing_path_says_what_was_looked_for(ag_news: AgNewsReader, missing: str) -> None:
    with pytest.raises(ConfigurationError, match="no data at .*nowhere.*: looked for /"):
        rows(ag_news, missing)


def test_folder_instead_of_a_file(ag_news: AgNewsReader) -> None:
    with pytest.raises(ConfigurationError, match="is a folder; a file is needed"):
        rows(ag_news, FIXTURES)


def test_urls_and_archive_members(ag_news: AgNewsReader, server: str, tmp_path: Path) -> None:
    expected = rows(ag_news, FIXTURES / "ag_news/train.csv")
    assert rows(ag_news, f"{server}/ag_news/train.csv") == expected
    with pytest.raises(ConfigurationError, match="no data at .*: looked for http"):
        rows(ag_news, f"{server}/ag_news/absent.csv")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.write(FIXTURES / "ag_news/train.csv", "data/train.csv")
    assert rows(ag_news, f"{tmp_path}/data.zip!data/train.csv") == expected
    with pytest.raises(ConfigurationError, match="no data at"):
        rows(ag_news, f"{tmp_path}/data.zip!data/absent.csv")


def test_a_server_that_is_not_there_is_not_waited_for(ag_news: AgNewsReader) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        begun = time.monotonic()
        with pytest.raises(ConfigurationError, match="no data at 'http"):
            rows(ag_news, f"http://127.0.0.1:{closed.getsockname()[1]}/train.csv")
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "name", ["../pathtest-x/evil.txt", "../evil.txt", "/tmp/sledgehammer-evil"]
)
def test_data_archives_write_nothing_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("allennlp.common.file_utils.CACHE_DIRECTORY", str(tmp_path / "cache"))
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        for member in ("data.txt", name):
            archive.addfile(tarfile.TarInfo(member), io.BytesIO())
    with pytest.raises(ConfigurationError, match="would lie outside of it"):
        local_path(f"{tmp_path}/data.tar.gz!data.txt")
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]
