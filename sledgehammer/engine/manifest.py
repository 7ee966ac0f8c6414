"""Read and write the manifest of an exported model, and check that its directory is whole.

engine.json    the manifest
config.json    the archive's config
transformer/   the tokenizer and the transformer's config
chosen.json    what the policy's setting was chosen for, if that is known
seen.json      fingerprints of the rows that the model was trained, calibrated or tuned on
segments/      a graph for each exit: the layers since the exit before, and the exit's head
reference.json histograms of texts like those to come, if there is one: see `monitoring`
curve.json     what each setting gave on labelled rows, if that was measured: see `curve`
README.md      the model card, which is for its readers to edit: the manifest does not list it
lexical.npz    the linear model of the exit before the first layer, if there is one
"""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from sledgehammer.engine.manifest_checks import LONG_TEXTS, problem_in
from sledgehammer.policies import CHOICE, Choice, Conditions
from sledgehammer.support.files import replacing

MANIFEST = "engine.json"
FORMAT = 3
"""Goes up when older code could not read what newer code writes. Format 1 had a threshold instead
of a policy; format 2 had no checksum of the manifest itself."""

CHECKSUM = "sha256"
"""The entry with the manifest's own checksum, over all other entries."""

TOKENIZER = "transformer/tokenizer.json"

LEXICAL = "lexical.npz"

CARD = "README.md"
TRUNCATE = LONG_TEXTS[0]

_OPTIONAL_FILES = ("config.json", "seen.json", CHOICE)
"""Files that AllenNLP's commands read if they are there."""

_LARGEST_MANIFEST = 1 << 26
"""The most bytes that a manifest may have."""


class EngineError(ValueError):
    """Tell that something is wrong with an exported model, or with the input it was given."""


@dataclass(frozen=True)
class Manifest:
    """Describe an exported model.

    # Parameters

    runtime : `str`
        `"onnx"` or `"openvino"`: what runs the segments.
    precision : `str`
        `"fp32"`, `"bf16"`, `"int8"` or `"int8-dynamic"`.
    exit_layers : `List[int]`
        The layers with an exit, counted from 0; -1 is the lexical exit, before the first layer.
    full_layers : `int`
        Layers of the full model.
    segments : `List[str]`
        The graph of each of the network's exits, as a path within the directory.
    labels : `List[str]`
    temperatures : `List[float]`
        The temperature of each exit.
    policy : `Dict[str, Any]`
        The config of the policy, with its default settings.
    inputs : `List[str]`
        What the first segment takes, of `input_ids`, `attention_mask` and `token_type_ids`.
    fields : `List[str]`
        The names of the texts in a JSON line: one, or two for pairs.
    max_length : `int`
        The most word pieces of a row, special tokens included.
    pad_token_id : `int`
    source : `Dict[str, Any]`
        The archive: its path, the SHA-256 of its weights, and their fingerprint.
    versions : `Dict[str, str]`
        The versions of the libraries that wrote the directory.
    signals : `List[str]`, optional
        Which signals the segments compute for the policy: `certainty`, `depth`.
    exit_shares : `List[List[float]]`, optional
        The table that a budget looks up (see `policies.exit_shares`); empty if it is not known.
    activation_scales : `str`, optional
        What has a scale of its own for int8 activations: each `"token"`; the `"model"`, if the
        ranges were fixed when it was exported; or each `"batch"`, so that a text's answer may
        depend on its neighbours (that is `int8-dynamic`). Empty for other precisions.
    timings : `Dict[str, Any]`, optional
        What `export --precision auto` measured before it chose; empty for other exports.
    mixing : `List[float]`, optional
        How much of the lexical exit's logits each exit adds to its own; empty without one.
    long_texts : `str`, optional
        What is kept of texts with too many word pieces: see `tokenizer.LONG_TEXTS`. It is written
        if it is not `"truncate"`, as older versions know nothing else.
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
    mixing: List[float] = field(default_factory=list)
    long_texts: str = TRUNCATE
    files: Dict[str, Dict[str, Any]] = field(default_factory=dict)

    @property
    def has_lexical(self) -> bool:
        """Return whether there is an exit before the first layer."""
        return self.exit_layers[0] == -1

    @property
    def number_format(self) -> str:
        """Return the number format of the graphs; float32 is the same in every runtime."""
        return "float32" if self.precision == "fp32" else f"{self.runtime} {self.precision}"

    def conditions(self, policy: Optional[Dict[str, Any]] = None) -> Conditions:
        """Return the conditions under which a choice of the policy's setting holds.

        # Parameters

        policy : `Dict[str, Any]`, optional
            The config of the policy that decides, if that is not the model's own policy.
        """
        return Conditions(
            self.policy if policy is None else policy,
            self.temperatures,
            self.number_format,
            self.source.get("fingerprint", ""),
            self.mixing,
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
    """Return whether a path is the directory of an exported model, whole or not."""
    try:
        return (Path(path) / MANIFEST).is_file()
    except OSError:  # it can't be a path, because it is too long, for example
        return False


def write(directory: Path, manifest: Manifest) -> None:
    """Write the manifest of a directory in which all other files are written already."""
    files = {
        str(path.relative_to(directory)): {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path not in (directory / MANIFEST, directory / CARD)
    }
    entries = dataclasses.asdict(manifest)
    if manifest.long_texts == TRUNCATE:
        del entries["long_texts"]
    content = sealed({"format": FORMAT, **entries, "files": files})
    with replacing(directory / MANIFEST) as partial:  # it may be in use
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def sealed(content: Dict[str, Any]) -> Dict[str, Any]:
    """Return the entries of a manifest, with their checksum."""
    entries = {name: value for name, value in content.items() if name != CHECKSUM}
    canonical = json.dumps(entries, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {**entries, CHECKSUM: hashlib.sha256(canonical.encode()).hexdigest()}


def read(directory: Path) -> Manifest:
    """Return the manifest of a directory, once all files are known to be as they were written.

    # Raises

    `EngineError` if there is no manifest, it has an unknown format or an invalid entry, or it or
    another file is missing or has changed.
    """
    manifest = read_manifest(directory)
    _check_files(directory, manifest)
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of a directory; the other files need not be there.

    # Raises

    `EngineError` as `read` does, for the manifest alone.
    """
    file = directory / MANIFEST
    content = _content(directory)
    try:
        _upgrade(content, file)
        manifest = _named_by_kind(Manifest(**content))
        problem = problem_in(vars(manifest))
    except EngineError:
        raise
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise EngineError(f"{file} is damaged: {error}") from error
    if problem:
        raise EngineError(f"{file} is damaged: {problem}")
    return manifest


def _named_by_kind(manifest: Manifest) -> Manifest:
    """Name the kind of int8, which older versions did not record.

    In those, int8 in ONNX Runtime had one scale for the activations of a whole batch.
    """
    if manifest.precision != "int8" or manifest.activation_scales:
        return manifest
    if manifest.runtime == "onnx":
        return dataclasses.replace(manifest, precision="int8-dynamic", activation_scales="batch")
    return dataclasses.replace(manifest, activation_scales="model")


def _content(directory: Path) -> Dict[str, Any]:
    file = directory / MANIFEST
    if not is_engine(directory):  # reading a device or a FIFO might never end
        raise EngineError(f"{directory} is not an exported model: it has no {MANIFEST}")
    try:
        if file.stat().st_size > _LARGEST_MANIFEST:
            raise ValueError(f"it is larger than {_LARGEST_MANIFEST} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EngineError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{file} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise EngineError(f"{file} is damaged: it is not a JSON object")
    return content


def _upgrade(content: Dict[str, Any], file: Path) -> None:
    """Check and remove the entries for format and checksum, and adapt those of older formats."""
    version = content.pop("format", None)
    if version == FORMAT:
        checksum = content.pop(CHECKSUM, None)
        if checksum != sealed({"format": FORMAT, **content})[CHECKSUM]:
            raise EngineError(
                f"{file} is damaged: it has changed since it was written; export the model again"
            )
    elif version == 1:
        content["policy"] = {"type": "confidence", "threshold": content.pop("threshold", None)}
    elif version != 2:
        raise EngineError(
            f"{file} has format {_shown(version)}, but this version of sledgehammer reads formats "
            f"1 to {FORMAT}: export the archive again"
        )


def _shown(version: Any) -> str:
    return repr(version) if isinstance(version, (int, float, type(None))) else "unknown"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _roots(directory: Path) -> List[Path]:
    """Return the folders in which a directory's files may lie.

    In the cache of the Hugging Face hub, `REPO/snapshots/COMMIT`, they are links to `REPO/blobs`.
    """
    repo = directory.absolute().parent.parent
    blobs = repo / "blobs"
    in_cache = directory.absolute().parent.name == "snapshots" and blobs.is_dir()
    return [directory, blobs] if in_cache and not blobs.is_symlink() else [directory]


def _check_files(directory: Path, manifest: Manifest) -> None:
    present = {name for name in _OPTIONAL_FILES if os.path.lexists(directory / name)}
    needed = [*manifest.segments, TOKENIZER, *([LEXICAL] if manifest.has_lexical else [])]
    unlisted = {*needed, *present} - set(manifest.files)
    if unlisted:
        raise EngineError(f"{directory / MANIFEST} does not list {', '.join(sorted(unlisted))}")
    roots = tuple(os.path.join(os.path.realpath(root), "") for root in _roots(directory))
    for name, expected in manifest.files.items():
        path = directory / name
        if not os.path.realpath(path).startswith(roots):
            raise EngineError(f"{directory / MANIFEST} names a file outside of it: {name}")
        if not os.path.isfile(path):
            raise EngineError(
                f"{directory} is incomplete: {name} is missing; export the model again"
            )
        if path.stat().st_size != expected["bytes"] or sha256(path) != expected["sha256"]:
            raise EngineError(
                f"{directory} is damaged: {name} has changed since it was written; export the "
                "model again"
            )
