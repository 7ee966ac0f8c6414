"""Archives are read whole, checked, and written nowhere but into their folder."""

import io
import random
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import pytest

from sledgehammer.support import tars
from sledgehammer.support.tars import CHECKSUMS, ArchiveError, CheckedTar

FILES = {"config.json": b"{}", "weights.th": bytes(range(256)) * 40, "folder/inner.txt": b"text"}


def write(path: Path, files: Dict[str, bytes] = FILES, mode: str = "w:gz") -> Path:
    """Write an archive as AllenNLP does, without checksums."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            add(archive, name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(content))


def checked(path: Path, files: Dict[str, bytes] = FILES) -> Path:
    with CheckedTar.open(path, "w:gz") as archive:
        for name, content in files.items():
            archive.add_bytes(name, content)
    return path


def read(path: Path) -> Dict[str, bytes]:
    return tars.read_files(path, lambda name: True)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_all_kinds_are_read_and_extracted(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path / "a.tar", mode=mode)
    assert read(path) == FILES
    (tmp_path / "out").mkdir()
    tars.extract(path, tmp_path / "out")
    for name, content in FILES.items():
        assert (tmp_path / "out" / name).read_bytes() == content


def test_a_checked_archive_lists_its_files(tmp_path: Path) -> None:
    path = checked(tmp_path / "a.tar.gz")
    assert read(path) == FILES
    with tarfile.open(path) as archive:
        assert CHECKSUMS in archive.getnames()


def test_names_with_a_dot_in_front(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", {f"./{name}": content for name, content in FILES.items()})
    assert read(path) == FILES


def outside(name: str, **fields: Any) -> Callable[[tarfile.TarFile], None]:
    return lambda archive: add(archive, name, **fields)


HOSTILE: Dict[str, Callable[[tarfile.TarFile], None]] = {
    "above": outside("../x"),
    "deep above": outside("folder/../../x"),
    "absolute": outside("/tmp/sledgehammer-x"),
    "symbolic link": outside("link", type=tarfile.SYMTYPE, linkname="/etc"),
    "symbolic link within": outside("link", type=tarfile.SYMTYPE, linkname="folder"),
    "hard link to nothing": outside("link", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "device": outside("device", type=tarfile.CHRTYPE),
    "FIFO": outside("fifo", type=tarfile.FIFOTYPE),
    "sibling": outside("../pathtest-x"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_members_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "config.json", b"{}")
        HOSTILE[kind](archive)
    folder = tmp_path / "folder/out"
    folder.mkdir(parents=True)
    with pytest.raises(ArchiveError):
        tars.extract(path, folder)
    with pytest.raises(ArchiveError):
        tars.check(path)
    assert {p.name for p in tmp_path.rglob("*")} <= {"a.tar.gz", "folder", "out", "config.json"}


def test_a_file_within_a_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", {"config.json": b"", "config.json/inner": b""})
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match="a file and a folder of the same name"):
        tars.extract(path, tmp_path / "out")


def test_hard_links_within_are_copies(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "first", b"content")
        add(archive, "second", type=tarfile.LNKTYPE, linkname="first")
    assert read(path) == {"first": b"content", "second": b"content"}
    tars.rewrite(path, tmp_path / "b.tar.gz", {}, {})
    assert read(tmp_path / "b.tar.gz") == {"first": b"content", "second": b"content"}


@pytest.mark.parametrize("make", [write, checked])
def test_every_cut_is_noticed(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    content = make(tmp_path / "a.tar.gz").read_bytes()
    for length in [0, 1, 10, len(content) // 2, *range(len(content) - 50, len(content))]:
        (tmp_path / "cut.tar.gz").write_bytes(content[:length])
        with pytest.raises(ArchiveError):
            tars.check(tmp_path / "cut.tar.gz")


@pytest.mark.parametrize("make", [write, checked])
def test_every_flipped_bit_is_noticed_or_changes_nothing(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """All bits of the headers and the end, and many others; a time stamp says nothing."""
    content, generator = make(tmp_path / "a.tar.gz").read_bytes(), random.Random(0)
    bits = [*range(20 * 8), *range(len(content) * 8 - 100, len(content) * 8)]
    for bit in bits + [generator.randrange(len(content) * 8) for _ in range(400)]:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "flipped.tar.gz").write_bytes(flipped)
        assert unless_noticed(tmp_path / "flipped.tar.gz") in (None, FILES)


def unless_noticed(path: Path) -> Optional[Dict[str, bytes]]:
    try:
        return read(path)
    except ArchiveError:
        return None


def test_changes_that_keep_the_compressed_file_whole_are_noticed(tmp_path: Path) -> None:
    """As another program that rewrites an archive would make them."""
    path = checked(tmp_path / "a.tar.gz")
    with tarfile.open(path) as archive:
        sums = archive.extractfile(CHECKSUMS).read()  # type: ignore[union-attr]
    changed = {**FILES, "weights.th": FILES["weights.th"][:-1] + b"x", CHECKSUMS: sums}
    with pytest.raises(ArchiveError, match=r"weights\.th has changed since it was written"):
        read(write(tmp_path / "changed.tar.gz", changed))
    with pytest.raises(ArchiveError, match="added has changed since it was written"):
        read(write(tmp_path / "more.tar.gz", {**FILES, "added": b"", CHECKSUMS: sums}))
    fewer = {"config.json": FILES["config.json"], CHECKSUMS: sums}
    with pytest.raises(ArchiveError, match="has changed since it was written"):
        read(write(tmp_path / "fewer.tar.gz", fewer))
    for broken in (b"", b"[]", b"{", b'{"format": 9, "sha256": {}}', b"[" * 100_000):
        with pytest.raises(ArchiveError, match="checksums.json"):
            read(write(tmp_path / "broken.tar.gz", {**FILES, CHECKSUMS: broken}))


def test_an_uncompressed_archive_with_a_broken_header(tmp_path: Path) -> None:
    """Python's own module takes it for the end."""
    content = bytearray(write(tmp_path / "a.tar", mode="w").read_bytes())
    content[512 * 2 + 1] ^= 1
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ArchiveError, match="a member has no header"):
        read(tmp_path / "a.tar")


def test_rewriting(tmp_path: Path) -> None:
    path = checked(tmp_path / "a.tar.gz")
    changes: Dict[str, Callable[[bytes], bytes]] = {"config.json": lambda old: old + b" "}
    tars.rewrite(path, tmp_path / "b.tar.gz", changes, {"folder/inner.txt": b"other", "new": b""})
    expected = {**FILES, "config.json": b"{} ", "folder/inner.txt": b"other", "new": b""}
    assert read(tmp_path / "b.tar.gz") == expected


def test_the_systems_errors_stay(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tars.check(tmp_path / "missing.tar.gz")
