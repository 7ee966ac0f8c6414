"""Models on the hub, against a stand-in for it: pushed and loaded in processes as users start them."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest

import sledgehammer
from sledgehammer.cards.file import card_text
from sledgehammer.cards.metadata import Declared
from sledgehammer.cards.of_engine import facts_of_engine
from sledgehammer.engine.manifest import CARD, MANIFEST, read, sealed, write
from sledgehammer.support.hub import HubError, HubName
from tests.conftest import FIXTURES, ROOT
from tests.hub.fake_hub import TOKEN, FakeHub, Repo

pytest.importorskip("onnxruntime")
ENGINE = FIXTURES / "version_0.1.0" / "engine"
TEXT = "a good story about bees"
LOAD = """
import json, sys
import sledgehammer
try:
    model = sledgehammer.load(sys.argv[1])
    print(json.dumps([model.predict([sys.argv[2]])[0], model.is_exported, "torch" in sys.modules]))
except sledgehammer.engine.EngineError as error:
    sys.exit(f"EngineError: {error}")
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    started = FakeHub()
    yield started
    started.close()


@pytest.fixture
def run(hub: FakeHub, tmp_path: Path) -> Run:
    """Run a command as a user of the stand-in does, by default one with a token."""

    def command(*arguments: object, **changes: str) -> "subprocess.CompletedProcess[str]":
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1",
            "SLEDGEHAMMER_CACHE": str(tmp_path / "ours"), **changes,
        }  # fmt: skip
        line = [sys.executable, *map(str, arguments)]
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=240)

    return command


def push(run: Run, *arguments: object, **changes: str) -> "subprocess.CompletedProcess[str]":
    return run("-m", "sledgehammer", "push", *arguments, **changes)


def load(run: Run, name: str, **changes: str) -> Any:
    """Return an answer, whether the model is exported, and whether torch was needed."""
    done = run("-c", LOAD, name, TEXT, **changes)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused_load(run: Run, name: str, **changes: str) -> str:
    done = run("-c", LOAD, name, TEXT, **changes)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("EngineError: ")
    return last


def refused_push(run: Run, *arguments: object, **changes: str) -> str:
    done = push(run, *arguments, **changes)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("sledgehammer push: error: ")
    return line


def content_of(folder: Path) -> Dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An exported model that may be changed."""
    return Path(shutil.copytree(ENGINE, tmp_path / "engine"))


def published(hub: FakeHub, folder: Path, name: str = "ann/reviews", private: bool = False) -> Repo:
    """A repository with what a folder holds."""
    hub.repos[name] = Repo(private)
    hub.repos[name].commit({".gitattributes": b"", **content_of(folder)})
    return hub.repos[name]


def test_an_exported_model_there_and_back(hub: FakeHub, run: Run, engine: Path) -> None:
    write(engine, read(engine))
    (engine / CARD).write_text("Mine.\n")
    done = push(run, engine, "ann/reviews", "--private")
    assert done.returncode == 0, done.stderr
    assert "sledgehammer.load('hub:ann/reviews')" in done.stdout
    repo = hub.repos["ann/reviews"]
    assert repo.private and repo.files == {".gitattributes": b"", **content_of(engine)}
    answer, is_exported, needed_torch = load(run, "hub:ann/reviews")
    expected = json.loads(run("-c", LOAD, engine, TEXT).stdout)[0]
    assert answer == expected and is_exported and not needed_torch
    # What is in the cache needs no network any more.
    assert load(run, "hub:ann/reviews", HF_HUB_OFFLINE="1")[0] == expected
    hub.requests.clear()
    assert load(run, "hub:ann/reviews")[0] == expected
    assert hub.downloaded() == []


def test_a_second_push_replaces_the_first(hub: FakeHub, run: Run, engine: Path) -> None:
    repo = published(hub, engine)
    first = repo.branches["main"]
    repo.files["segments/exit_9.onnx"] = b"old"
    repo.files[CARD] = b"Edited on the hub.\n"
    (engine / CARD).write_text(card_text(facts_of_engine(engine, read(engine)), Declared()))
    done = push(run, engine, "ann/reviews")
    assert done.returncode == 0, done.stderr
    assert "was edited there, so it stays" in done.stdout
    assert "segments/exit_9.onnx" not in repo.files
    assert repo.files[CARD] == b"Edited on the hub.\n"
    assert push(run, engine, "ann/reviews", "--force").returncode == 0
    assert repo.files[CARD] == (engine / CARD).read_bytes()
    # An earlier commit is still there, by its name.
    repo.files.clear()
    assert load(run, f"hub:ann/reviews@{first}")[1]


def test_an_archive_there_and_back(hub: FakeHub, run: Run, tiny_archive: Path) -> None:
    done = push(run, tiny_archive, "ann/tiny")
    assert done.returncode == 0, done.stderr
    files = hub.repos["ann/tiny"].files
    assert "model.safetensors" in files and CARD in files
    assert not any(name.endswith((".th", ".pt", ".pkl", ".gz")) for name in files)
    answer, is_exported, _ = load(run, "hub:ann/tiny")
    (expected,) = sledgehammer.load(tiny_archive).predict([TEXT])
    assert answer["label"] == expected["label"] and not is_exported
    assert answer["probs"] == pytest.approx(expected["probs"])


def test_archives_from_the_hub_are_checked(
    hub: FakeHub, tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, as if the hub's files were in the cache."""
    from allennlp.common.checks import ConfigurationError

    from sledgehammer.model import hub_archive

    scratch = tmp_path / "unpacked"
    scratch.mkdir()
    files = hub_archive.unpack_for_hub(str(tiny_archive), scratch)
    content = scratch / "content"
    monkeypatch.setenv(hub_archive.CACHE, str(tmp_path / "ours"))
    monkeypatch.setattr(hub_archive, "fetch", lambda name, file: content / file)
    monkeypatch.setattr(hub_archive, "fetch_listed", lambda name, file: content / file)
    assert hub_archive.archive_from_hub("hub:a/b").is_file()
    config = (content / "config.json").read_text()
    manifest = json.loads((content / "checksums.json").read_text())

    def refused(message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            hub_archive.archive_from_hub("hub:a/b")

    def list_files(**digests: Any) -> None:
        listed = {**manifest["sha256"], **digests}
        kept = {name: digest for name, digest in listed.items() if digest}
        (content / "checksums.json").write_text(json.dumps({**manifest, "sha256": kept}))

    def with_config(text: str) -> None:
        (content / "config.json").write_text(text)
        list_files(**{"config.json": hub_archive.sha256(content / "config.json")})

    with_config(config.replace('"joint"', '"os.path.join"'))
    refused("names 'os.path.join' by its module")
    with_config(config.replace('"sledgehammer_sst"', '"sst_tokens"'))
    refused("not one of sledgehammer's")
    with_config("[")
    refused("config.json: it is not JSON")
    with_config(config)
    list_files(**{"code.py": "0" * 64})
    refused("lists code.py, which no archive has")
    list_files(**{"model.safetensors": None})
    refused("does not list model.safetensors")
    list_files(**{"model.safetensors": "0" * 64})
    refused("is damaged: model.safetensors has changed")
    (content / "meta.json").write_bytes(pickle.dumps({}))
    list_files(**{"meta.json": hub_archive.sha256(content / "meta.json")})
    refused("meta.json: it is a pickle")
    (content / "checksums.json").write_text("{}")
    refused("checksums.json is damaged")
    assert CARD in files


@pytest.mark.parametrize("token", [TOKEN, ""])
def test_what_is_not_there_or_private_is_told_in_a_line(
    hub: FakeHub, run: Run, engine: Path, token: str
) -> None:
    published(hub, engine, "ann/secret", private=True)
    published(hub, engine)
    assert "not found, or private" in refused_load(run, "hub:ann/nothing", HF_TOKEN=token)
    told = "hub:ann/reviews@v2: it has no revision 'v2'"
    assert told in refused_load(run, "hub:ann/reviews@v2", HF_TOKEN=token)
    if token:
        assert load(run, "hub:ann/secret")[1]
        assert "no revision" in refused_push(run, engine, "ann/reviews@v2")
    else:
        assert "not found, or private" in refused_load(run, "hub:ann/secret", HF_TOKEN="")
        assert "not found, or private" in refused_push(run, engine, "ann/new", HF_TOKEN="")
        assert "ann/new" not in hub.repos


def test_a_hub_that_cannot_be_reached(hub: FakeHub, run: Run) -> None:
    hub.close()
    assert "can't be reached" in refused_load(run, "hub:ann/reviews")
    assert "can't be reached" in refused_load(run, "hub:ann/reviews", HF_HUB_OFFLINE="1")


def test_nothing_but_a_model_is_downloaded(hub: FakeHub, run: Run, engine: Path) -> None:
    repo = published(hub, engine)
    repo.files["modeling.py"] = b"raise SystemExit('run')"
    assert load(run, "hub:ann/reviews")[1]
    assert "modeling.py" not in hub.downloaded()
    for name in ("modeling.py", "pytorch_model.bin", "../../x.json", "transformer/tokenizer.py"):
        write(engine, read(engine))
        content = json.loads((engine / MANIFEST).read_text())
        content["files"][name] = {"bytes": 1, "sha256": "0" * 64}
        repo.commit({**content_of(engine), MANIFEST: json.dumps(sealed(content)).encode()})
        hub.requests.clear()
        told = refused_load(run, "hub:ann/reviews")
        assert name in told, told
        assert hub.downloaded() == [MANIFEST]


def test_a_damaged_or_missing_file_is_noticed(hub: FakeHub, run: Run, engine: Path) -> None:
    repo = published(hub, engine)
    good = dict(repo.files)
    repo.commit({**good, "segments/exit_2.onnx": good["segments/exit_2.onnx"][:-1]})
    assert "is damaged: segments/exit_2.onnx has changed" in refused_load(run, "hub:ann/reviews")
    repo.commit({name: c for name, c in good.items() if name != "transformer/tokenizer.json"})
    assert "transformer/tokenizer.json is missing" in refused_load(run, "hub:ann/reviews")
    repo.commit({**good, MANIFEST: good[MANIFEST].replace(b"positive", b"negative")})
    assert "engine.json" in refused_load(run, "hub:ann/reviews")
    repo.commit({"readme.txt": b""})
    assert "is not a model of sledgehammer" in refused_load(run, "hub:ann/reviews")


def test_what_is_no_part_of_a_model_is_not_pushed(hub: FakeHub, run: Run, engine: Path) -> None:
    def told(*arguments: object) -> str:
        line = refused_push(run, engine, "ann/reviews", *arguments)
        assert "ann/reviews" not in hub.repos or len(hub.repos["ann/reviews"].commits) == 1
        return line

    for name, content in {
        "modeling.py": b"", "segments/weights.pt": b"", "segments/exit_0.bin": b"x", "a.pkl": b"",
    }.items():  # fmt: skip
        (engine / name).write_bytes(content)
        assert f"holds {name}, which is no part of a model" in told()
        (engine / name).unlink()
    (engine / "verification.json").write_bytes(pickle.dumps({"a": 1}))
    assert "verification.json: it is a pickle" in told()
    (engine / "verification.json").unlink()
    published(hub, ROOT / "docs/hooks", "ann/other")
    assert "ann/other holds something else" in refused_push(run, engine, "ann/other")
    (engine / "segments/exit_0.onnx").write_bytes(b"")
    assert "is damaged: segments/exit_0.onnx" in told()
    assert "is no name on the hub" in refused_push(run, engine, "../x")
    assert push(run, engine).returncode == 2


@pytest.mark.parametrize(
    "name, parsed",
    [
        ("hub:ann/reviews", HubName("ann/reviews")),
        ("reviews", HubName("reviews")),
        ("hub:ann/reviews@v1.0", HubName("ann/reviews", "v1.0")),
        ("hub:ann/reviews@refs/pr/1", HubName("ann/reviews", "refs/pr/1")),
    ],
)
def test_names(name: str, parsed: HubName) -> None:
    assert HubName.parse(name) == parsed
    assert HubName.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "name",
    ["hub:", "hub:a/b/c", "hub:a b", "hub:../a", "hub:a@", "hub:a@-x", "hub:a/..", "hub:a@../b"],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(HubError, match="is no name on the hub"):
        HubName.parse(name)


def test_links_out_of_the_cache_of_the_hub_are_refused(engine: Path, tmp_path: Path) -> None:
    from sledgehammer.engine import EngineError

    repo = tmp_path / "models--ann--reviews"
    (repo / "blobs").mkdir(parents=True)
    snapshot = repo / "snapshots/abc"
    shutil.copytree(engine, snapshot)
    for place, is_allowed in ((repo / "blobs/1", True), (tmp_path / "elsewhere", False)):
        file = snapshot / "segments/exit_0.onnx"
        shutil.copy(ENGINE / "segments/exit_0.onnx", place)
        file.unlink()
        file.symlink_to(place)
        if is_allowed:
            read(snapshot)
        else:
            with pytest.raises(EngineError, match="names a file outside of it"):
                read(snapshot)
