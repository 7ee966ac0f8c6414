"""Opening archives, and writing changed copies."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.models import BasicClassifier

from sledgehammer.model import archives
from sledgehammer.model.archives import archive_file, check_target, open_archive, write_changed


def members(archive: Path) -> "dict[str, bytes]":
    with tarfile.open(archive) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


def test_only_the_changes_differ(tiny_archive: Path, tmp_path: Path) -> None:
    before = tiny_archive.read_bytes()
    target = tmp_path / "new.tar.gz"
    weights = {"temperatures": torch.tensor([2.0, 3.0, 4.0]), "seen.threshold": torch.tensor([1])}
    policy = {"type": "confidence", "threshold": 0.25}
    write_changed(str(tiny_archive), target, weights, policy, extra={"note.txt": b"hello"})
    assert tiny_archive.read_bytes() == before
    old, new = members(tiny_archive), members(target)
    assert {name for name in new if new[name] != old.get(name)} == {
        "config.json", "weights.th", "note.txt",
    }  # fmt: skip
    model = open_archive(str(target)).model
    assert model.temperatures.tolist() == [2.0, 3.0, 4.0]
    assert model.policy.threshold == 0.25
    assert model.seen.threshold.tolist() == [1]
    config_before, config_after = json.loads(old["config.json"]), json.loads(new["config.json"])
    config_before["model"]["policy"]["threshold"] = 0.25
    assert config_after == config_before
    again = tmp_path / "again.tar.gz"
    write_changed(str(target), again, {}, extra={"note.txt": b"bye"}, dtype="bfloat16")
    assert members(again)["note.txt"] == b"bye"
    config_after["model"]["inference_dtype"] = "bfloat16"
    assert json.loads(members(again)["config.json"]) == config_after


def test_an_interrupted_write_leaves_nothing(
    tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, "_changed_weights", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_changed(str(tiny_archive), tmp_path / "new.tar.gz", {})
    assert list(tmp_path.iterdir()) == []


def test_targets_that_are_refused(tiny_archive: Path, tmp_path: Path) -> None:
    source = str(tiny_archive)
    with pytest.raises(ConfigurationError, match="is the old archive"):
        check_target(tiny_archive, source, force=True)
    (tmp_path / "link").symlink_to(tiny_archive)
    with pytest.raises(ConfigurationError, match="is the old archive"):
        check_target(tmp_path / "link", source, force=True)
    (tmp_path / "there").write_text("something")
    with pytest.raises(ConfigurationError, match="exists: give another name, or --force"):
        check_target(tmp_path / "there", source, force=False)
    check_target(tmp_path / "there", source, force=True)
    check_target(tmp_path / "new", source, force=False)


def test_archives_that_can_not_be_opened(tiny_archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no archive at 'missing.tar.gz'"):
        open_archive("missing.tar.gz")
    with pytest.raises(ConfigurationError, match="the folder has no model.tar.gz"):
        open_archive(str(tmp_path))
    for content in (b"no archive", tiny_archive.read_bytes()[:5000]):
        (tmp_path / "broken.tar.gz").write_bytes(content)
        with pytest.raises(ConfigurationError, match="is no AllenNLP archive, or damaged"):
            open_archive(str(tmp_path / "broken.tar.gz"))
    assert archive_file(str(tiny_archive.parent)) == tiny_archive


def test_archives_of_other_models(tiny_archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(BasicClassifier):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

    class Loaded:
        model = Other()
        validation_dataset_reader = None

    monkeypatch.setattr(archives, "load_archive", lambda *_, **__: Loaded)
    with pytest.raises(ConfigurationError, match="a model of type Other; this command is for sled"):
        open_archive(str(tiny_archive))
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="not_there"):
        open_archive(str(tiny_archive), overrides='{"model.type": "not_there"}')


def test_an_archive_without_what_budgets_go_by(tiny_archive: Path, tmp_path: Path) -> None:
    """As older versions wrote it: it loads, and a budget says what to do."""
    older = tmp_path / "older.tar.gz"
    with tarfile.open(tiny_archive) as old, tarfile.open(older, "w:gz") as new:
        for member in old:
            content = io.BytesIO(old.extractfile(member).read() if member.isfile() else b"")  # type: ignore[union-attr]
            if member.name == "weights.th":
                weights = torch.load(content)
                del weights["exit_shares"]
                content = io.BytesIO()
                torch.save(weights, content)
                member.size = content.tell()
                content.seek(0)
            new.addfile(member, content if member.isfile() else None)
    assert open_archive(str(older)).model.shares_on_host() is None
    overrides = '{"model.policy": {"type": "budget", "budget": 2}}'
    model, reader = open_archive(str(older), overrides=overrides)
    with pytest.raises(ConfigurationError, match="run `allennlp calibrate`"):
        model.forward_on_instances([reader.text_to_instance("a good story")])
    model, reader = open_archive(str(tiny_archive), overrides=overrides)
    model.forward_on_instances([reader.text_to_instance("a good story")])
