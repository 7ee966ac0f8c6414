"""What the directory of an exported model holds, and whether it is whole.

engine.json    this manifest
config.json    the archive's config
transformer/   tokenizer and the transformer's config
chosen.json    what the policy's setting was chosen for, if that is known
seen.json      fingerprints of the rows that had a part in the model
segments/      one graph an exit: the layers since the last exit, and its head
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from sledgehammer.policies import CHOICE, Choice, Conditions

MANIFEST = "engine.json"
FORMAT = 2
"""Goes up when older code could not read what newer code writes. 1 had a threshold for a policy."""

TOKENIZER = "transformer/tokenizer.json"


class EngineError(ValueError):
    """Something is wrong with an exported model or with what it was given."""


@dataclass(frozen=True)
class Manifest:
    """The description of an exported model.

    # Parameters

    runtime : `str`
        `"onnx"` or `"openvino"`: what runs the segments.
    precision : `str`
        `"fp32"`, `"bf16"`, `"int8"` or `"int8-dynamic"`.
    exit_layers : `List[int]`
        The layers with an exit, counted from 0.
    full_layers : `int`
        Layers of the full model.
    segments : `List[str]`
        The graph of each exit, as a path within the directory.
    labels : `List[str]`
    temperatures : `List[float]`
        One an exit.
    policy : `Dict[str, Any]`
        The config of the policy, with its default settings.
    inputs : `List[str]`
        What the first segment takes, of `input_ids`, `attention_mask` and `token_type_ids`.
    fields : `List[str]`
        The names of the texts in a JSON line: one, or two for pairs.
    max_length : `int`
        Word pieces, special tokens included.
    pad_token_id : `int`
    source : `Dict[str, Any]`
        The archive: its path, the SHA-256 of its weights, and their fingerprint.
    versions : `Dict[str, str]`
        Of the libraries that wrote the directory.
    signals : `List[str]`, optional
        What the segments tell for the policy: `certainty`, `depth`.
    exit_shares : `List[List[float]]`, optional
        What a budget goes by (see `policies.exit_shares`); empty if it is not known.
    activation_scales : `str`, optional
        What shares a scale of the activations in int8: a `"token"`; the `"model"`, whose ranges
        were fixed when it was exported; or a `"batch"`, where a text's answer may depend on its
        neighbours (that is `int8-dynamic`). Empty for other precisions.
    timings : `Dict[str, Any]`, optional
        What `export --precision auto` measured before it chose; empty if it was not asked to.
    files : `Dict[str, Dict[str, Any]]`
        Bytes and SHA-256 of every other file, by its path.
    """

    runtime: str
    precision: str
    exit_layers: List[int]
    full_layers: int
    segments: List[str]
    labels: List[str]
    temperatures: List[float]
    policy: Dict[str, Any]
    inputs: List[str]
    fields: List[str]
    max_length: int
    pad_token_id: int
    source: Dict[str, Any]
    versions: Dict[str, str]
    signals: List[str] = field(default_factory=list)
    exit_shares: List[List[float]] = field(default_factory=list)
    activation_scales: str = ""
    timings: Dict[str, Any] = field(default_factory=dict)
    files: Dict[str, Dict[str, Any]] = field(default_factory=dict)

    @property
    def number_format(self) -> str:
        """What the graphs compute in; float32 is the same in every runtime."""
        return "float32" if self.precision == "fp32" else f"{self.runtime} {self.precision}"

    def conditions(self, policy: Optional[Dict[str, Any]] = None) -> Conditions:
        """Return what a choice of the policy's setting depends on.

        # Parameters

        policy : `Dict[str, Any]`, optional
            The config of what decides, if that is not the model's own policy.
        """
        return Conditions(
            self.policy if policy is None else policy,
            self.temperatures,
            self.number_format,
            self.source.get("fingerprint", ""),
        )


def read_choice(directory: Path) -> Optional[Choice]:
    """Return what the setting of an exported model was chosen for, if that is known.

    # Raises

    `EngineError` if the file is damaged.
    """
    try:
        return Choice.of(json.loads((directory / CHOICE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise EngineError(f"{directory / CHOICE} is damaged: {error}") from error


def is_engine(path: "str | Path") -> bool:
    """Whether this is the directory of an exported model, whole or not."""
    try:
        return (Path(path) / MANIFEST).is_file()
    except OSError:  # no path at all: too long, say
        return False


def write(directory: Path, manifest: Manifest) -> None:
    """Write the manifest of a directory that has all its other files."""
    files = {
        str(path.relative_to(directory)): {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    content = {"format": FORMAT, **dataclasses.asdict(manifest), "files": files}
    (directory / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(directory: Path) -> Manifest:
    """The manifest of a directory whose files are all as they were written.

    # Raises

    `EngineError` if there is none, it is of another format, or a file is missing or changed.
    """
    try:
        content = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        raise EngineError(f"{directory} is no exported model: it has no {MANIFEST}") from error
    except ValueError as error:
        raise EngineError(f"{directory / MANIFEST} is damaged: {error}") from error
    found = content.pop("format", None) if isinstance(content, dict) else None
    if found == 1:
        content["policy"] = {"type": "confidence", "threshold": content.pop("threshold", None)}
    elif found != FORMAT:
        raise EngineError(
            f"{directory / MANIFEST} is of format {found!r}, this version of sledgehammer reads "
            f"formats 1 and {FORMAT}: export the archive again"
        )
    try:
        manifest = _named_by_kind(Manifest(**content))
        _check_files(directory, manifest)
    except (TypeError, KeyError, AttributeError) as error:
        raise EngineError(f"{directory / MANIFEST} is damaged: {error}") from error
    return manifest


def _named_by_kind(manifest: Manifest) -> Manifest:
    """Say which kind of int8 it is, where an older version did not.

    There, int8 in ONNX Runtime had one scale for the activations of a whole batch.
    """
    if manifest.precision != "int8" or manifest.activation_scales:
        return manifest
    if manifest.runtime == "onnx":
        return dataclasses.replace(manifest, precision="int8-dynamic", activation_scales="batch")
    return dataclasses.replace(manifest, activation_scales="model")


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_files(directory: Path, manifest: Manifest) -> None:
    unlisted = {*manifest.segments, TOKENIZER} - set(manifest.files)
    if unlisted:
        raise EngineError(f"{directory / MANIFEST} does not list {', '.join(sorted(unlisted))}")
    root = directory.resolve()
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.resolve().is_relative_to(root):
            raise EngineError(f"{directory / MANIFEST} names a file outside of it: {name}")
        if not path.is_file():
            raise EngineError(f"{directory} is incomplete: {name} is missing; export it again")
        if path.stat().st_size != expected["bytes"] or sha256(path) != expected["sha256"]:
            raise EngineError(
                f"{directory} is damaged: {name} is not what was written; export it again"
            )
