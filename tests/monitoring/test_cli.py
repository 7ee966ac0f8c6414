"""`sledgehammer monitor`, and the server's own monitor."""

import asyncio
import json
import random
import shutil
from pathlib import Path
from typing import Any, Callable, List

import pytest

from tests.serving.conftest import local  # noqa: F401  a fixture
from tests.serving.servers import ENGINE, Local

from sledgehammer.engine.manifest import MANIFEST, read  # isort: skip
from sledgehammer.monitoring import cli  # isort: skip
from sledgehammer.monitoring.reference import REFERENCE  # isort: skip

WORDS = "a good bad story about bees the plot is dull and lazy but end joy film actors".split()


def texts(seed: int, count: int, longest: int = 12) -> List[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, longest))) for _ in range(count)]


def lines(path: Path, *given: List[str]) -> Path:
    path.write_text("".join(json.dumps({"text": t}) + "\n" for part in given for t in part))
    return path


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine with a reference."""
    folder = tmp_path_factory.mktemp("monitored")
    copy = Path(shutil.copytree(ENGINE, folder / "engine"))
    data = lines(folder / "reference.jsonl", texts(0, 600))
    assert cli.main([str(data), "--engine", str(copy), "--write-reference"]) == 0
    assert REFERENCE in read(copy).files, "the manifest vouches for it"
    return copy


def test_texts_of_the_same_kind_raise_no_alarm_and_others_do(
    directory: Path, tmp_path: Path, capsys: Any
) -> None:
    same = lines(tmp_path / "same.jsonl", texts(1, 400))
    assert cli.main([str(same), "--engine", str(directory)]) == 0
    assert "no change noticed in 400 texts" in capsys.readouterr().out
    other = lines(tmp_path / "other.jsonl", texts(2, 100), texts(3, 400, longest=40))
    assert cli.main([str(other), "--engine", str(directory)]) == cli.CHANGED
    assert "the texts have changed" in capsys.readouterr().out


def test_errors_are_one_line(directory: Path, tmp_path: Path, capsys: Any) -> None:
    few = lines(tmp_path / "few.jsonl", texts(0, 20))
    log = tmp_path / "log.jsonl"
    log.write_text('{"first_confidence": 0.5, "first_label": "other", "tokens": 3}\n')
    (tmp_path / "bad.jsonl").write_text('{"text": "x"}\n{"txt": 1}\n')
    (tmp_path / "empty.jsonl").write_text("")
    before = (directory / MANIFEST).read_bytes()
    for file, message, more in (
        (few, "at least 50 rows, got 20", ["--write-reference"]),
        (tmp_path / "empty.jsonl", "at least 50 rows, got 0", ["--write-reference"]),
        (log, "line 1: this model has no label 'other'", []),
        (tmp_path / "bad.jsonl", "line 2: missing field 'text'", []),
        (tmp_path / "none.jsonl", "No such file", []),
    ):
        assert cli.main([str(file), "--engine", str(directory), *more]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("sledgehammer monitor: error: ") and message in line
    assert (directory / MANIFEST).read_bytes() == before
    assert cli.main([str(few), "--engine", str(ENGINE)]) == 1
    assert "write one with --write-reference" in capsys.readouterr().err
    assert cli.main(["x"]) == 2 and "--engine" in capsys.readouterr().err


def test_the_server_raises_the_same_alarm_and_logs_no_text(
    local: Callable[..., Local],  # noqa: F811
    directory: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: Any,
) -> None:
    log = tmp_path / "served.jsonl"
    started = local(directories={"tiny": directory}, log=log)

    async def run() -> List[str]:
        pages = []
        async with started.client() as client:
            for given in (texts(1, 200), texts(3, 400, longest=40)):
                for first in range(0, len(given), 50):
                    body = {"input": given[first : first + 50], "threshold": 0}
                    assert (await client.post("/v1/classify", json=body)).status_code == 200
                pages.append((await client.get("/metrics")).text)
        return pages

    before, after = asyncio.run(run())
    assert 'sledgehammer_drift_alarm{model="tiny"} 0.0' in before
    assert 'sledgehammer_drift_alarm{model="tiny"} 1.0' in after
    assert 'sledgehammer_drift_log10_length{model="tiny"}' in after
    assert "tiny: the texts have changed" in caplog.text
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(logged) == 600
    assert set(logged[0]) == {"time", "model", "first_label", "first_confidence", "tokens"}
    assert cli.main([str(log), "--engine", str(directory)]) == cli.CHANGED
