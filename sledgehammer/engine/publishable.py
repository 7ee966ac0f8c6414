"""Say which files of a model may be sent to the hub, or taken from there: none that can hold code."""

import json
import re
from pathlib import Path
from typing import Dict, Iterable

import numpy as np

from sledgehammer.engine.manifest import CARD, LEXICAL, MANIFEST

ARCHIVE_MANIFEST = "checksums.json"
"""The file of an archive's repository that lists the SHA-256 of every other file."""

WEIGHTS = "model.safetensors"

_COMMON = (
    r"(config|seen|chosen|curve|verification|reference|speed)\.json",
    r"transformer/(config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|source)\.json",
    r"transformer/(vocab|merges)\.txt",
    r"transformer/(spiece|tokenizer|sentencepiece\.bpe)\.model",
    re.escape(CARD),
)
_ENGINE = (re.escape(MANIFEST), re.escape(LEXICAL), r"segments/[\w-]+\.(onnx|xml|bin)")
_ARCHIVE = (
    re.escape(ARCHIVE_MANIFEST), re.escape(WEIGHTS),
    r"(meta|metrics|calibration|pruning|lexical)\.json", r"vocabulary/[\w-]+\.txt",
)  # fmt: skip

_OF_KIND = {
    kind: re.compile("|".join((*_COMMON, *own)))
    for kind, own in (("engine", _ENGINE), ("archive", _ARCHIVE))
}


def refused(files: Iterable[str], kind: str) -> "list[str]":
    """Return the files that no model has, in alphabetical order.

    # Parameters

    files : `Iterable[str]`
        Paths within the model.
    kind : `str`
        `engine` or `archive`.
    """
    names = set(files)
    bad = {name for name in names if not _OF_KIND[kind].fullmatch(name)}
    # The weights of OpenVINO's graphs; without its graph such a file could be anything.
    bad |= {n for n in names if n.endswith(".bin") and f"{n[:-4]}.xml" not in names}
    return sorted(bad)


def problem_in(file: Path) -> str:
    """Return why a file is not what its name says, or an empty string."""
    with open(file, "rb") as opened:
        head = opened.read(4)
    if file.suffix == ".npz":
        return _problem_in_arrays(file)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and head[2:3] in b"}]c(X\x95\x8c":
        return "it is a pickle, which can hold code"
    if head == b"PK\x03\x04":
        return "it is a zip file, as pickled weights are"
    if file.suffix == ".json":
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            return f"it is not JSON: {error}"
    return ""


def _problem_in_arrays(file: Path) -> str:
    arrays: Dict[str, np.ndarray] = {}
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except Exception as error:  # numpy and zipfile raise nearly anything
        return f"it holds no plain arrays: {error}"
    return "" if arrays else "it holds no arrays"
