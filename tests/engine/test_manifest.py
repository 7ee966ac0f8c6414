"""Directories that are not an exported model, or not a whole one."""

import dataclasses
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from sledgehammer import engine
from sledgehammer.engine.manifest import MANIFEST, EngineError, is_engine, read, sealed, write


@pytest.fixture
def copy(tiny_engine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_engine, tmp_path / "copy"))


def change(directory: Path, changes: Callable[[Dict[str, Any]], Any]) -> None:
    """Write other entries, with the checksum that they need."""
    content = json.loads((directory / MANIFEST).read_text())
    changes(content)
    (directory / MANIFEST).write_text(json.dumps(sealed(content)))


def test_a_whole_directory(copy: Path) -> None:
    assert is_engine(copy) and is_engine(str(copy))
    manifest = read(copy)
    assert (manifest.exit_layers, manifest.fields) == ([0, 2, 3], ["text"])
    assert set(manifest.segments) < set(manifest.files)


def test_a_directory_of_format_1_has_the_policy_of_its_day(copy: Path) -> None:
    def older(content: Dict[str, Any]) -> None:
        for name in ("policy", "signals", "exit_shares", "sha256"):
            del content[name]
        content.update(format=1, threshold=0.75)

    content = json.loads((copy / MANIFEST).read_text())
    older(content)
    (copy / MANIFEST).write_text(json.dumps(content))
    classifier = engine.load(copy)
    assert classifier.policy.config() == {"type": "confidence", "threshold": 0.75}


@pytest.mark.parametrize(
    "runtime, shown, scales",
    [("onnx", "int8-dynamic", "batch"), ("openvino", "int8", "model")],
)
def test_older_int8_is_called_what_it_is(copy: Path, runtime: str, shown: str, scales: str) -> None:
    """Before there was a kind in which a text's answer is its own, nothing said which it was."""

    def older(content: Dict[str, Any]) -> None:
        for name in ("activation_scales", "timings"):
            del content[name]
        content.update(precision="int8", runtime=runtime)

    change(copy, older)
    manifest = read(copy)
    assert (manifest.precision, manifest.activation_scales) == (shown, scales)


def test_int8_that_says_its_kind_keeps_its_name(copy: Path) -> None:
    change(copy, lambda content: content.update(precision="int8", activation_scales="token"))
    manifest = read(copy)
    assert (manifest.precision, manifest.activation_scales) == ("int8", "token")


def test_what_is_kept_of_long_texts(copy: Path) -> None:
    """Older versions, which only truncate, read what truncates; theirs says nothing of it."""
    assert "long_texts" not in json.loads((copy / MANIFEST).read_text())
    assert read(copy).long_texts == "truncate"
    texts = ["a fine film " * 400 + "that bores"]
    (before,) = engine.load(copy).tokenizer.encode(texts)
    write(copy, dataclasses.replace(read(copy), long_texts="head_tail"))
    (after,) = engine.load(copy).tokenizer.encode(texts)
    assert read(copy).long_texts == "head_tail"
    assert after.truncated and len(after.ids) == len(before.ids) and after.ids != before.ids


@pytest.mark.parametrize("path", ["missing", ".", "", "x" * 5000, "https://example.org/model"])
def test_what_is_no_exported_model(path: str, tmp_path: Path) -> None:
    assert not is_engine(tmp_path / path)
    with pytest.raises(EngineError, match="is not an exported model: it has no engine.json"):
        engine.load(tmp_path / path)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"format": 3}', "\xff"])
def test_a_foreign_manifest(content: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(content.encode("latin-1"))
    with pytest.raises(
        EngineError, match="is damaged|reads formats 1 to 3: export the archive again"
    ):
        engine.load(tmp_path)


@pytest.mark.parametrize("name", ["segments/exit_2.onnx", "transformer/tokenizer.json"])
def test_missing_and_changed_files_are_named(copy: Path, name: str) -> None:
    file = copy / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(EngineError, match=f"is damaged: {name} has changed since it was written"):
        engine.load(copy)
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(EngineError, match=f"is damaged: {name} has changed since it was written"):
        engine.load(copy)
    file.unlink()
    with pytest.raises(EngineError, match=f"is incomplete: {name} is missing"):
        engine.load(copy)


CHANGES: Dict[str, Callable[[Dict[str, Any]], Any]] = {
    "long_texts must be one of truncate, head_tail": lambda content: content.update(
        long_texts="tail"
    ),
    "has format 7": lambda content: content.update(format=7),
    "is damaged: .*'labels'": lambda content: content.pop("labels"),
    "is damaged: .*'colour'": lambda content: content.update(colour="red"),
    "is damaged: files must be bytes and SHA-256": lambda content: content["files"][
        "config.json"
    ].pop("sha256"),
    "is damaged": lambda content: content.update(files=3),
    "names a file outside of it: ../other": lambda content: content["files"].update(
        {"../other": {"bytes": 0, "sha256": "0" * 64}}
    ),
    "names a file outside of it: /": lambda content: content["files"].update(
        {"/etc/hostname": {"bytes": 0, "sha256": "0" * 64}}
    ),
    "does not list segments/other.onnx": lambda content: content["segments"].__setitem__(
        0, "segments/other.onnx"
    ),
    "there is no policy 'hope'": lambda content: content.update(policy={"type": "hope"}),
    "needs a signal": lambda content: content.update(policy={"type": "learned_halting"}),
    "does not know yet what": lambda content: content.update(
        policy={"type": "budget"}, exit_shares=[]
    ),
    "unknown runtime 'abacus'": lambda content: content.update(runtime="abacus"),
}


@pytest.mark.parametrize("message", CHANGES)
def test_a_changed_manifest(copy: Path, message: str) -> None:
    change(copy, CHANGES[message])
    with pytest.raises(EngineError, match=message):
        engine.load(copy)


def test_a_link_out_of_the_directory(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "config.json", tmp_path / "config.json")
    (copy / "config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(EngineError, match="names a file outside of it: config.json"):
        engine.load(copy)


def test_a_graph_that_the_runtime_does_not_take(copy: Path) -> None:
    """Written so, and hence not damaged."""
    from sledgehammer.engine.manifest import sha256

    graph = copy / "segments/exit_0.onnx"
    graph.write_bytes(b"no graph")
    entry = {"bytes": 8, "sha256": sha256(graph)}
    change(copy, lambda content: content["files"].update({"segments/exit_0.onnx": entry}))
    with pytest.raises(EngineError, match="ONNX Runtime cannot load"):
        engine.load(copy)


def test_a_missing_runtime_names_the_package(
    tiny_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(EngineError, match="pip install onnxruntime"):
        engine.load(tiny_engine)


def flip(content: bytes, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def test_every_flipped_bit_is_noticed_or_changes_nothing(copy: Path) -> None:
    """`1e-05` and `1E-05` are one number, for instance."""
    whole, content = read(copy), (copy / MANIFEST).read_bytes()
    count = int(os.environ.get("SLEDGEHAMMER_FLIPS", "300"))
    generator, taken = random.Random(0), 0
    for _ in range(count):
        (copy / MANIFEST).write_bytes(flip(content, generator.randrange(len(content) * 8)))
        try:
            assert read(copy) == whole
            taken += 1
        except EngineError:
            pass
    assert taken < count / 50


def test_what_is_no_regular_file_is_not_read(copy: Path) -> None:
    """Reading a FIFO would wait for ever."""
    (copy / MANIFEST).unlink()
    os.mkfifo(copy / MANIFEST)
    with pytest.raises(EngineError, match="is not an exported model"):
        read(copy)
    (copy / MANIFEST).unlink()
    (copy / MANIFEST).symlink_to("/dev/zero")
    with pytest.raises(EngineError, match="is not an exported model"):
        read(copy)


BAD: Dict[str, List[Any]] = {
    "runtime": [None, 3, ""],
    "precision": ["fp64", None, ["fp32"]],
    "exit_layers": [[], [0, 0, 3], [3, 2, 0], [-1, 2, 3], [0, 2, 4], [0.0, 2, 3], [True, 2, 3], 3],
    "full_layers": [0, -1, 1 << 40, "4", None, 4.0],
    "segments": [[], ["a"], ["segments/exit_0.onnx"] * 3, [1, 2, 3], "abc", ["\\ud800", "b", "c"]],
    "labels": [[], ["one", "one"], [1, 2], "ab", [""], ["\ud800", "b"]],
    "temperatures": [[], [1.0], [1, 1, 0], [1, 1, -1], [1, 1, True], ["1", 1, 1], [10**400, 1, 1]],
    "policy": [None, {}, [], {"type": 3}],
    "inputs": [[], ["input_ids"], ["input_ids", "attention_mask", "pixels"], None],
    "fields": [[], ["a", "b", "c"], ["a", "a"], [None], 3],
    "max_length": [0, -1, 2.5, None, True],
    "pad_token_id": [-1, "0", None, 1 << 40],
    "source": [None, {}, {"archive": "a"}, {"archive": "a", "weights_sha256": "short"}],
    "versions": [None, {"torch": 2}],
    "signals": [["hope"], "depth", ["depth", "depth"]],
    "exit_shares": [None, [[]], [[0.5, 1.0]], [[0, 2, 0, -1]], [[2.0, 1, 0, 0]], [["0", 1, 0, 0]]],
    "activation_scales": ["row", None, 3, ["token"]],
    "timings": [None, [], 3, "fast"],
    "mixing": [None, [0.0], [0, 0, 0], ["0"], [-1.0], 3],
    "files": [None, [], {"a": {}}, {"a": {"bytes": -1, "sha256": "0" * 64}}],
}


def test_every_field_has_a_shape_and_a_range(copy: Path) -> None:
    """With the checksum that fits: as somebody writes it who means it."""
    content = json.loads((copy / MANIFEST).read_text())
    assert set(BAD) == set(content) - {"format", "sha256"}
    for name, values in BAD.items():
        for value in values:
            (copy / MANIFEST).write_text(json.dumps(sealed({**content, name: value})))
            with pytest.raises(EngineError):
                read(copy)


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"format": 3, "a": ' + "[" * 900 + "]" * 900 + "}", '{"format": 3}', "1" * 5000,
     '{"format": ' + "[" * 900 + "]" * 900 + "}", '{"format": NaN}'],
)  # fmt: skip
def test_manifests_that_are_hard_to_read(copy: Path, content: str) -> None:
    (copy / MANIFEST).write_text(content)
    with pytest.raises(EngineError):
        read(copy)


def test_what_is_read_is_listed(copy: Path) -> None:
    """Reading a FIFO in the place of a file that nothing lists would wait for ever."""
    content = json.loads((copy / MANIFEST).read_text())
    del content["files"]["seen.json"]
    (copy / MANIFEST).write_text(json.dumps(sealed(content)))
    (copy / "seen.json").unlink()
    os.mkfifo(copy / "seen.json")
    with pytest.raises(EngineError, match=r"does not list seen\.json"):
        read(copy)


def test_a_checksum_is_not_optional(copy: Path) -> None:
    content = json.loads((copy / MANIFEST).read_text())
    for changed in ({"format": 2}, {"format": 1}, {"sha256": None}, {"labels": ["b", "a"]}):
        (copy / MANIFEST).write_text(json.dumps({**content, **changed}))
        with pytest.raises(EngineError, match="is damaged"):
            read(copy)
