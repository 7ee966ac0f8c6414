"""`sledgehammer score` on processes of this machine: rows in are rows out, however it is killed."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from sledgehammer import engine
from sledgehammer._scoring import cli
from sledgehammer._scoring.job import Job, Part, begin
from sledgehammer._scoring.parts import PartWriter
from sledgehammer._scoring.places import LocalFolder, ScoringError, folder_at
from sledgehammer.engine import workers
from tests.conftest import ROOT
from tests.scoring.datasets import (
    ALONE,
    ENGINE,
    check_nothing_lost,
    command,
    environment,
    parts,
    rows_of,
    score,
    text,
    write_shards,
)

GOOD, SECOND = text(0), text(5)

BAD: Dict[str, bytes] = {
    "jsonl": (
        b'{"id": "a", "text": "%s", "stars": 3}\n'
        b'{"id": "b", "text": " "}\n'
        b'{"id": "c", "text": 5}\n'
        b'{"id": "d"}\n'
        b"no\n\n"
        b'{"id": "e", "text": "\xff"}\n'
        b'{"id": "f", "text": "%s", "stars": 4}\n'
    ),
    "csv": (b'id,text,stars\na,%s,3\nb, ,\nc,"\n",5\nd\ne,too,many,cells\n\ng,\xff,\xff\nf,%s,4\n'),
}
ERRORS = {
    "jsonl": [None, "is empty", "must be a text, got 5", "missing field 'text'", "not JSON",
              "blank line", "not UTF-8", None],
    "csv": [None, "is empty", "is empty", "expected 3 cells, got 1", "got 4", "blank line",
            "not UTF-8", None],
}  # fmt: skip


def run(*arguments: object) -> int:
    return cli.main([*map(str, arguments), "--engine", str(ENGINE), "--threads", "1"])


def needs_pyarrow(format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")


@pytest.mark.parametrize("source, format", [("jsonl", "csv"), ("csv", "jsonl"), ("csv", "parquet")])
def test_bad_rows_have_an_error(source: str, format: str, tmp_path: Path) -> None:
    needs_pyarrow(format)
    content = BAD[source] % (GOOD.encode(), SECOND.encode())
    (tmp_path / f"in.{source}").write_bytes(content)
    options = [tmp_path / f"in.{source}", "--output", tmp_path / "out", "--keep", "stars"]
    assert run(*options, "--format", format, "--workers", 1, *ALONE) == 3
    (part,) = parts(tmp_path / "out")
    assert part.name == f"part-00000-in.{format}"
    rows = rows_of(part)
    assert [row["row"] for row in rows] == list(range(8))
    for row, error in zip(rows, ERRORS[source], strict=True):
        assert (row["error"] is None) if error is None else (error in row["error"]), row
    expected = engine.load(ENGINE, 1).predict([GOOD, SECOND], batch_size=1)
    for row, answer, name, stars in zip((rows[0], rows[-1]), expected, "af", (3, 4)):
        assert (row["id"], str(row["stars"]), row["truncated"]) == (name, str(stars), False)
        assert row["probs"] == pytest.approx(answer["probs"], abs=1e-6)
        for field in ("label", "exit_layer", "layers_run"):
            assert row[field] == answer[field]
    assert rows[1]["probs"] is None and rows[1]["label"] is None


def test_parquet_keeps_types_and_reports_wrong_ones(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")

    table = pa.table(
        {
            "body": pa.array([GOOD, None, "", SECOND], pa.large_string()),
            "id": pa.array([1, 2, 3, 4], pa.int16()),
            "when": pa.array([0, 1, 2, 3], pa.timestamp("us")),
            "many": pa.array([[1], [2], [], None]),
        }
    )
    pa.parquet.write_table(table, tmp_path / "in.parquet")
    options = [tmp_path / "in.parquet", "--text", "body", "--keep", "when", "--workers", 1]
    assert run(*options, "--output", tmp_path / "out") == 3
    written = pa.parquet.read_table(parts(tmp_path / "out")[0])
    assert written.schema.field("id").type == pa.int16()
    assert written.schema.field("when").type == pa.timestamp("us")
    assert written["error"].to_pylist() == [None, "'body' is null", "'body' is empty", None]
    # JSON has no dates.
    assert run(*options, "--output", tmp_path / "lines", "--format", "jsonl") == 3
    assert rows_of(parts(tmp_path / "lines")[0])[0]["when"] == "1970-01-01 00:00:00"
    assert run(tmp_path / "in.parquet", "--text", "many", "--output", tmp_path / "wrong") == 1
    errors = pa.parquet.read_table(parts(tmp_path / "wrong")[0])["error"].to_pylist()
    assert errors[:1] == ["'many' must be a text, got a list"]


def test_folders_compressed_files_and_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "_metadata").mkdir()
    (data / "deep/a.tsv").write_text(f"text\tid\n{GOOD}\t1\n")
    (data / "b.csv.gz").write_bytes(gzip.compress(f"\ufeffid,text\n2,{GOOD}\n".encode()))
    (data / "empty.csv").write_text("id,text\n")
    for stranger in ("README.md", ".hidden.csv", "_metadata/x.csv"):
        (data / stranger).write_text("nothing")
    assert run(data, "--output", tmp_path / "out", "--workers", 1) == 0
    assert "left out, as they are no tables: README.md" in capsys.readouterr().err
    found = {part.name: [row["id"] for row in rows_of(part)] for part in parts(tmp_path / "out")}
    assert found == {
        "part-00000-b.csv": ["2"], "part-00001-a.csv": ["1"], "part-00002-empty.csv": []
    }  # fmt: skip


def test_settings_reach_the_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = write_shards(tmp_path / "in", 1, 12)
    options = [tmp_path / "in", "--workers", 1, "--silent"]
    assert run(*options, "--output", tmp_path / "first", "--threshold", 0) == 3
    assert (
        "11 answered after 1.00 of 4 layers on average, 1 with an error" in capsys.readouterr().out
    )
    assert run(*options, "--output", tmp_path / "last", "--threshold", 1) == 3
    assert "11 answered after 4.00 of 4 layers" in capsys.readouterr().out
    check_nothing_lost(tmp_path / "last", everything)


def test_pairs_come_from_two_columns(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("one,other\nbees,keep bees\nbees,\n")
    job = Job("", {}, ["one", "other"], [], "jsonl", [Part("in.csv", 0, "", "part-0.jsonl")])
    folder, done = LocalFolder(str(tmp_path)), []
    with PartWriter(
        job, folder, folder, ["premise", "hypothesis"], ["yes", "no"], lambda *of: done.append(of)
    ) as writer:
        lines = [json.loads(line) for line in writer.lines(job.parts)]
        assert lines == [{"premise": "bees", "hypothesis": "keep bees"}]
        writer.take({"label": "yes", "exit_layer": 0})
        writer.finish()
    assert [row["error"] for row in rows_of(tmp_path / "part-0.jsonl")] == [
        None,
        "'other' is empty",
    ]
    assert done[0][1].rows == 2


def test_a_killed_job_goes_on(tmp_path: Path) -> None:
    """Finished parts stay as they are, the others are done; nothing is lost or doubled."""
    everything = write_shards(tmp_path / "in", 24, 40)
    output = tmp_path / "out"
    options = [tmp_path / "in", "--engine", ENGINE, "--output", output, "--workers", 2, *ALONE]
    running = subprocess.Popen(command(*options), env=environment(), stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list((output / "_done").glob("part-*"))) < 3 and time.monotonic() < until:
        time.sleep(0.002)
    running.kill()
    running.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in parts(output)}
    assert 3 <= len(finished) < 24
    # As if the kill had come between a part and its record.
    undone = sorted(finished)[0]
    (output / "_done" / f"{undone}.json").unlink()
    (output / undone).write_text("anything")
    recorded = len(list((output / "_done").glob("part-*")))

    done = score(*options)
    assert done.returncode == 3, done.stderr
    assert f"{recorded} of 24 parts were finished before" in done.stderr
    check_nothing_lost(output, everything)
    assert f"{len(everything)} rows in 24 parts: " in done.stdout
    for name in sorted(finished)[1:recorded]:
        assert (output / name).stat().st_mtime_ns == finished[name], "is not done again"

    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    again = score(*options, "--silent")
    assert (again.returncode, again.stdout) == (3, done.stdout)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_a_signal_ends_all_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    write_shards(tmp_path / "in", 24, 40)
    output = tmp_path / "out"
    options = [tmp_path / "in", "--engine", ENGINE, "--output", output, "--workers", 2, *ALONE]
    running = subprocess.Popen(command(*options), env=environment(), stderr=subprocess.PIPE)
    assert running.stderr and running.stderr.readline().startswith(b"1 of 24")
    running.terminate()
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM and b"Traceback" not in errors
    assert parts(output) and not list(output.rglob("*.part"))


def test_a_dead_worker_is_an_error_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = write_shards(tmp_path / "in", 12, 20)
    answer, asked = workers.Workers.answer, []

    def kill_one(pool: workers.Workers, first: int, lines: List[str]) -> Any:
        asked.append(first)
        if len(asked) == 12:
            os.kill(pool._children[1].pid, signal.SIGKILL)
        return answer(pool, first, lines)

    options = [tmp_path / "in", "--output", tmp_path / "out", "--workers", 2, *ALONE]
    with monkeypatch.context() as patch:
        patch.setattr(workers.Workers, "answer", kill_one)
        assert run(*options) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "sledgehammer score: error: worker 2 of 2 was killed by signal 9"
    assert 0 < len(parts(tmp_path / "out")) < 12
    assert run(*options) == 3
    check_nothing_lost(tmp_path / "out", everything)


@pytest.mark.parametrize(
    "change, message",
    [
        (["--threshold", "0.5"], "has a job with other settings of the policy ({}, not {'thr"),
        (["--keep", "id"], "has a job that keeps other columns"),
        (["--text", "id"], "has a job for other text columns"),
        (["--format", "csv"], "has a job with another format (jsonl, not csv)"),
    ],
)
def test_another_job_is_refused(
    change: List[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards(tmp_path / "in", 1, 3)
    options = [tmp_path / "in", "--output", tmp_path / "out", "--workers", 1]
    assert run(*options) == 0
    capsys.readouterr()
    assert run(*options, *change) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_other_files_and_engines_are_refused(tmp_path: Path) -> None:
    output = LocalFolder(str(tmp_path))
    old = Part("a.csv", 3, "1", "part-00000-a.csv")
    job = Job("x", {}, ["text"], [], "csv", [old])
    assert begin(job, output) == {} == begin(job, output)
    for engine_, part, message in (
        ("y", old, "for another engine: give"),
        ("x", Part("a.csv", 4, "1", "part-00000-a.csv"), "a.csv has changed"),
        ("x", Part("b.csv", 3, "1", "part-00000-b.csv"), "a.csv is gone"),
    ):
        with pytest.raises(ScoringError, match=message):
            begin(Job(engine_, {}, ["text"], [], "csv", [part]), output)


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path / "in", 1, 2)
    (tmp_path / "one.csv").write_text("a,b,b\n1,2,3\n")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"text\n" + os.urandom(5000))[:900])
    (tmp_path / "mixed").mkdir()
    for name in ("a.csv", "b.jsonl"):
        (tmp_path / "mixed" / name).write_text("text\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/report.txt").write_text("")
    cases: Dict[str, List[object]] = {
        "no such file, and no folder": [tmp_path / "nothing"],
        "has no column 'text'; the columns are: a, b, b": [tmp_path / "one.csv"],
        "has several columns 'b'": [tmp_path / "one.csv", "--text", "b"],
        "cut.csv.gz is damaged": [tmp_path / "cut.csv.gz"],
        "files of csv and jsonl: give --format": [tmp_path / "mixed"],
        "has no file whose name ends in": [tmp_path / "full"],
        "is for models of pairs": [tmp_path / "in", "--second-text", "b"],
        "has no setting 'patience'": [tmp_path / "in", "--setting", "patience=3"],
        "has 'report.txt' in it": [tmp_path / "in", "--output", tmp_path / "full"],
    }
    for message, options in cases.items():
        more = [] if "--output" in options else ["--output", tmp_path / "out"]
        assert run(*options, *more, "--workers", 1) == 1, message
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert not parts(tmp_path / "out") and not list(tmp_path.rglob("*.part"))
        for path in (tmp_path / "out").glob("_*"):
            path.unlink()
    assert run(tmp_path / "in", "--output", tmp_path / "out", "--keep", "label") == 2
    assert "cannot keep 'label'" in capsys.readouterr().err


def test_a_damaged_parquet_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_pyarrow("parquet")
    (tmp_path / "in.parquet").write_bytes(b"PAR1 and no more")
    assert run(tmp_path / "in.parquet", "--output", tmp_path / "out", "--workers", 1) == 1
    error = capsys.readouterr().err
    assert "in.parquet is damaged" in error and error.count("\n") == 1


def test_urls_in_and_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fsspec = pytest.importorskip("fsspec", reason="URLs need fsspec")
    memory = fsspec.filesystem("memory")
    everything = write_shards(tmp_path / "in", 3, 8)
    memory.put(str(tmp_path / "in"), "/urls/in", recursive=True)
    try:
        options = ["memory://urls/in", "--output", "memory://urls/out", "--workers", 1]
        assert run(*options) == 3
        memory.get("/urls/out", str(tmp_path / "out"), recursive=True)
        check_nothing_lost(tmp_path / "out", everything)
        capsys.readouterr()
        assert run(*options) == 3
        assert "3 of 3 parts were finished before" in capsys.readouterr().err
        one = ["memory://urls/in/shard-001.jsonl", "--output", tmp_path / "one", "--workers", 1]
        assert run(*one) == 0
        assert [row["id"] for row in rows_of(parts(tmp_path / "one")[0])] == list(range(8, 16))
        assert run("memory://urls/nothing", "--output", "memory://urls/other") == 1
        assert run("no-such-system://urls/in", "--output", tmp_path / "other") == 1
        lines = capsys.readouterr().err.splitlines()
        assert "there is no such file" in lines[-2] and "no-such-system" in lines[-1]
    finally:
        memory.rm("/urls", recursive=True)
    assert folder_at("file:///tmp").location == "/tmp"


def test_neither_allennlp_nor_torch_is_loaded(tmp_path: Path) -> None:
    write_shards(tmp_path / "in", 1, 2)
    code = (
        "import sys; from sledgehammer._scoring.cli import main; code = main(sys.argv[1:]); "
        "wrong = {'torch', 'allennlp', 'transformers', 'ray', 'pyarrow'} & set(sys.modules); "
        "sys.exit(str(wrong) if wrong else code)"
    )
    arguments = [tmp_path / "in", "--engine", ENGINE, "--output", tmp_path / "out", "--workers", 1]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
