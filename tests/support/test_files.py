"""Files are written whole or not at all."""

import os
import resource
import stat
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.support import renaming
from sledgehammer.support.files import (
    check_folder,
    check_writable,
    replacing,
    replacing_folder,
)


def test_the_target_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with replacing(target) as partial:
        partial.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_a_failed_write_changes_nothing(tmp_path: Path, interruption: type) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(interruption), replacing(target) as partial:
        partial.write_text("half")
        raise interruption
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_impossible_targets_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no folder"):
        check_folder(tmp_path / "missing/out.txt")
    with pytest.raises(ConfigurationError, match="it is a folder"):
        check_folder(tmp_path)
    with pytest.raises(ConfigurationError, match="must end in one of .json, .csv"):
        check_writable(Path("out.txt"), [".json", ".csv"])
    check_folder(Path("relative.txt"))


def test_what_is_no_regular_file_is_written_straight(tmp_path: Path) -> None:
    device = Path("/dev/null")
    before = device.stat()
    with replacing(device) as partial:
        assert partial == device
        partial.write_text("gone")
    assert stat.S_ISCHR(device.stat().st_mode) and device.stat().st_ino == before.st_ino
    fifo, received = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: received.append(fifo.read_text()))
    reader.start()
    with replacing(fifo) as partial:
        partial.write_text("through")
    reader.join(10)
    assert received == ["through"] and stat.S_ISFIFO(fifo.stat().st_mode)


def test_descriptors_are_written_straight(tmp_path: Path) -> None:
    """As `>(command)` and `/dev/stdout` are, which may be a pipe or a file that is open."""
    read_end, write_end = os.pipe()
    with replacing(Path(f"/dev/fd/{write_end}")) as partial:
        partial.write_text("through")
    os.close(write_end)
    assert os.read(read_end, 100) == b"through"
    os.close(read_end)
    with open(tmp_path / "out.txt", "w") as file:
        with replacing(Path(f"/dev/fd/{file.fileno()}")) as partial:
            partial.write_text("through")
        assert os.stat(tmp_path / "out.txt").st_ino == os.fstat(file.fileno()).st_ino
    assert (tmp_path / "out.txt").read_text() == "through"


def test_links_are_followed_and_modes_kept(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there/out.txt", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    with replacing(link) as partial:
        partial.write_text("new")
    assert link.is_symlink() and target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "there/other.txt")
    with replacing(dangling) as partial:
        partial.write_text("new")
    assert dangling.is_symlink() and (tmp_path / "there/other.txt").read_text() == "new"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="loop"), replacing(loop):
        pass
    assert len(list((tmp_path / "there").iterdir())) == 2


def test_long_names(tmp_path: Path) -> None:
    target = tmp_path / ("\u00e9" * 120)
    with replacing(target) as partial:
        partial.write_text("new")
    assert target.read_text() == "new"


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file get longer than 1,000 bytes, not even one that pytest reports to."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_names_the_target_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with full_disk(), pytest.raises(OSError) as caught, replacing(target) as partial:
        partial.write_text("x" * 2000)
    assert caught.value.filename == str(target)
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_missing_names_the_target(tmp_path: Path) -> None:
    target = tmp_path / "missing/out.txt"
    with pytest.raises(OSError) as caught, replacing(target):
        pass
    assert caught.value.filename == str(target)


def fill(folder: Path) -> None:
    (folder / "name").write_text("new")


@pytest.fixture(params=["exchange", "two steps"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's exchange of two names, and as where it has none."""
    if request.param == "two steps":
        monkeypatch.setattr(renaming, "_library_function", lambda: None)


@pytest.mark.usefixtures("either_way")
def test_folders_are_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with replacing_folder(target) as folder:
        fill(folder)
    (target / "old").write_text("old")
    target.chmod(0o700)
    with pytest.raises(ValueError), replacing_folder(target) as folder:
        fill(folder)
        raise ValueError
    assert {path.name for path in target.iterdir()} == {"name", "old"}
    with replacing_folder(target) as folder:
        fill(folder)
    assert {path.name for path in target.iterdir()} == {"name"}
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("write", [replacing, replacing_folder])
def test_one_of_several_writers_wins(tmp_path: Path, write: Callable[..., object]) -> None:
    target, lost, won = tmp_path / "out", [], []
    barrier = threading.Barrier(4)

    def run(number: int) -> None:
        try:
            with write(target, overwrite=False) as partial:  # type: ignore[attr-defined]
                file = partial / "name" if partial.is_dir() else partial
                file.write_text(str(number))
                barrier.wait(10)
            won.append(number)
        except FileExistsError as error:
            lost.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(won), len(lost)) == (1, 3)
    assert "another process has just written it" in str(lost[0])
    assert (target / "name" if target.is_dir() else target).read_text() == str(won[0])
    assert list(tmp_path.iterdir()) == [target]


def test_a_reader_always_finds_a_folder(tmp_path: Path) -> None:
    """While it is replaced again and again, as `export --force` does."""
    target, missing, done = tmp_path / "out", [], threading.Event()
    with replacing_folder(target) as folder:
        fill(folder)
    if not renaming.exchange(target, target):
        pytest.skip("the system can't exchange two folders")

    def look() -> None:
        while not done.is_set():
            missing.extend([] if target.exists() else [target])

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(50):
        with replacing_folder(target) as folder:
            fill(folder)
    done.set()
    reader.join(10)
    assert missing == []
