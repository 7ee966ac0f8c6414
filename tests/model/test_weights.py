"""Test that reading weights runs no code that a pickle may hold."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from sledgehammer.model import weights
from sledgehammer.model.weights import WeightsError, check_weights, read_weights, write_weights

STATE = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3), "c": torch.zeros(0).half()}


class Harmful:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(params=["safe mode", "own unpickler"])
def either_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on torch 2.6 and later, and as before."""
    if request.param == "own unpickler":
        monkeypatch.setattr(weights, "_HAS_SAFE_MODE", False)
        original = torch.load
        # What versions without a safe mode do.
        options = {"weights_only": False} if weights._VERSION >= (2, 0) else {}
        monkeypatch.setattr(torch, "load", lambda *a, **k: original(*a, **{**options, **k}))
    elif not weights._HAS_SAFE_MODE:
        pytest.skip("this torch has no safe mode")


@pytest.mark.usefixtures("either_torch")
def test_what_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "w.th").write_bytes(write_weights(STATE))
    check_weights(tmp_path / "w.th")
    for source in (tmp_path / "w.th", io.BytesIO(write_weights(STATE))):
        found = read_weights(source)
        assert all(torch.equal(found[name], STATE[name]) for name in STATE)
        assert found["c"].dtype == torch.float16


@pytest.mark.usefixtures("either_torch")
def test_code_is_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for content in ({"a": Harmful(made)}, Harmful(made), {**STATE, "d": Harmful(made)}):
        torch.save(content, tmp_path / "w.th")
        with pytest.raises(WeightsError):
            read_weights(tmp_path / "w.th")
    (tmp_path / "w.th").write_bytes(pickle.dumps(Harmful(made)))
    with pytest.raises(WeightsError):
        read_weights(tmp_path / "w.th")
    assert not made.exists()
    torch.save({"a": Harmful(made)}, tmp_path / "w.th")
    pickle.loads(pickle.dumps(Harmful(made)))  # it would have
    assert made.exists()


@pytest.mark.usefixtures("either_torch")
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", b"\x80\x02}"])
def test_damage_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.th").write_bytes(content)
    with pytest.raises(WeightsError, match="^no weights"):
        read_weights(tmp_path / "w.th")


@pytest.mark.usefixtures("either_torch")
def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    for content in ([1, 2], {"a": 3}, {1: torch.zeros(1)}, torch.zeros(1)):
        torch.save(content, tmp_path / "w.th")
        with pytest.raises(WeightsError, match="something other than named tensors"):
            read_weights(tmp_path / "w.th")


def test_programs_and_doubles_are_refused_where_torch_would_take_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_HAS_SAFE_MODE", False)
    content = write_weights(STATE)
    for name in ("archive/constants.pkl", "other/DATA.PKL"):
        path = tmp_path / "w.th"
        path.write_bytes(content)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"x")
        with pytest.raises(WeightsError, match="a TorchScript program, or an old file format"):
            read_weights(path)


def test_files_are_left_to_a_torch_that_reads_them_safely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_HAS_SAFE_MODE", True)
    monkeypatch.setattr(weights, "read_weights", lambda file: pytest.fail("read twice"))
    check_weights(tmp_path / "any.th")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(pytest.fail.Exception):
        check_weights(tmp_path / "any.th")
