"""What killed processes leave is removed; what belongs to the living is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sledgehammer.support.owned import owned_file, owned_folder, remove_abandoned, scratch_folder
from tests.conftest import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from sledgehammer.support.owned import {kind}
with {kind}(Path(sys.argv[1]), ".x.") as path:
    if path.is_dir():
        (path / "inner").write_text("content")
    print(path, flush=True)
    time.sleep(60)
"""


def holder(folder: Path, kind: str) -> "tuple[subprocess.Popen[str], Path]":
    """Start a process that holds a file or folder, and wait until it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(kind=kind), str(folder)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("kind", ["owned_file", "owned_folder"])
def test_only_what_a_killed_owner_left_is_removed(tmp_path: Path, kind: str) -> None:
    process, path = holder(tmp_path, kind)
    assert not remove_abandoned(tmp_path, ".x.")
    assert path.exists()
    process.kill()
    process.wait()
    assert path.exists()
    assert not remove_abandoned(tmp_path, ".other.")
    assert remove_abandoned(tmp_path, ".x.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [owned_file, owned_folder])
def test_the_next_one_sweeps_and_leaves_nothing(tmp_path: Path, make: object) -> None:
    process, _ = holder(tmp_path, "owned_folder")
    process.kill()
    process.wait()
    kept = [tmp_path / name for name in (".x.12345678.parts", ".x.notours.part", "x.12345678.part")]
    for file in kept:
        file.write_text("somebody's")
    with make(tmp_path, ".x.") as path:  # type: ignore[operator]
        assert set(tmp_path.iterdir()) == {path, *kept}
    assert set(tmp_path.iterdir()) == set(kept)


def test_links_and_files_of_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (tmp_path / ".x.aaaaaaaa.part").symlink_to(target)
    (tmp_path / ".x.bbbbbbbb.part").write_text("of another user")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert not remove_abandoned(tmp_path, ".x.")
    assert len(list(tmp_path.iterdir())) == 3


def test_scratch_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RuntimeError), scratch_folder() as folder:
        (folder / "file").write_text("content")
        assert folder.parent == tmp_path
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_between_making_and_locking_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner sees that its file was taken, and makes another."""
    opened, real = [], os.open

    def sweeping(path: object, *others: int, **named: object) -> int:
        if str(path).endswith(".part") and not opened:
            opened.append(path)
            descriptor = real(path, *others, **named)  # type: ignore[arg-type]
            os.unlink(path)  # type: ignore[arg-type]
            return descriptor
        return real(path, *others, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("sledgehammer.support.owned.os.open", sweeping)
    with owned_file(tmp_path, ".x.") as path:
        assert path.exists() and str(path) != str(opened[0])


SLEEPER = """
import sys, time
from pathlib import Path
from sledgehammer.support.files import replacing
from sledgehammer.support.signals import ending_on_signals
with ending_on_signals(), replacing(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_in_order(tmp_path: Path, number: int, code: int) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(target)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, "")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert target.read_text() == "old"
