"""Files are written whole or not at all."""

from pathlib import Path

import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.support.files import check_folder, check_writable, replacing


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
