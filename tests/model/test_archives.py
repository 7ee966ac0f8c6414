"""Test opening archives and writing changed copies."""

import io
import json
import os
import random
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.models import BasicClassifier

from sledgehammer.model import archive_writing, archives
from sledgehammer.model.archive_files import archive_file
from sledgehammer.model.archive_writing import check_target, write_changed
from sledgehammer.model.archives import open_archive
from sledgehammer.support import tars


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
        "config.json", "weights.th", "note.txt", "checksums.json", "README.md",
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

    monkeypatch.setattr(archive_writing, "_changed_weights", interrupt)
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
        with pytest.raises(ConfigurationError, match="is not an AllenNLP archive, or is damaged"):
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
            if member.name == "checksums.json":
                continue
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


def rebuilt(source: Path, target: Path, name: str, change: Callable[[bytes], bytes]) -> str:
    """Write an archive with one file changed by somebody, who left no checksums."""
    with tarfile.open(target, "w:gz") as new:
        for member, content in members(source).items():
            data = change(content) if member == name else content
            if member != "checksums.json":
                info = tarfile.TarInfo(member)
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
    return str(target)


def with_model(**changes: Any) -> Callable[[bytes], bytes]:
    def change(old: bytes) -> bytes:
        config = json.loads(old)
        config["model"].update(changes)
        return json.dumps(config).encode()

    return change


BROKEN: Dict[str, Tuple[str, Callable[[bytes], bytes]]] = {
    "garbage weights": ("weights.th", lambda _: b"garbage"),
    "cut weights": ("weights.th", lambda old: old[: len(old) // 2]),
    "no weights": ("weights.th", lambda _: b""),
    "garbage config": ("config.json", lambda _: b"\xff\x00{"),
    "a list for a config": ("config.json", lambda _: b"[]"),
    "a config without a model": ("config.json", lambda _: b"{}"),
    "a number for a model": ("config.json", lambda _: b'{"model": 3, "dataset_reader": 4}'),
    "other exit layers": ("config.json", with_model(exit_layers=[0, 1])),
    "exit layers that there are not": ("config.json", with_model(exit_layers=[0, 99])),
    "an extra label": ("vocabulary/labels.txt", lambda old: old + b"\nthird"),
    "a garbage tokenizer": ("transformer/tokenizer.json", lambda _: b"{"),
    "a garbage transformer": ("transformer/config.json", lambda _: b"{"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damage_in_a_good_tar_is_one_line(tiny_archive: Path, tmp_path: Path, kind: str) -> None:
    path = rebuilt(tiny_archive, tmp_path / "broken.tar.gz", *BROKEN[kind])
    with pytest.raises(
        ConfigurationError, match="cannot load|is not an AllenNLP archive"
    ) as caught:
        open_archive(path)
    assert "\n" not in caught.value.message and path in caught.value.message


def test_flipped_bits_never_load_in_silence(tiny_archive: Path, tmp_path: Path) -> None:
    content, flipped = tiny_archive.read_bytes(), tmp_path / "flipped.tar.gz"
    whole, generator = tars.read_files(tiny_archive, lambda name: True), random.Random(0)
    count = int(os.environ.get("SLEDGEHAMMER_FLIPS", "40"))
    for bit in (generator.randrange(len(content) * 8) for _ in range(count)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        flipped.write_bytes(changed)
        with suppress(tars.ArchiveError):
            assert tars.read_files(flipped, lambda name: True) == whole
    flipped.write_bytes(content[:-50])
    with pytest.raises(ConfigurationError, match="damaged"):
        open_archive(str(flipped))
