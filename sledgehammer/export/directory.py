"""Write a whole exported model from an archive."""

import json
import random
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import torch
from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError

from sledgehammer import __version__
from sledgehammer.dataset_readers.base import Row, token_batches
from sledgehammer.engine import Engine, load
from sledgehammer.engine.manifest import LEXICAL, TOKENIZER, Manifest, write
from sledgehammer.export import onnx, openvino
from sledgehammer.export.formats import PRECISIONS, RUNTIMES, Format
from sledgehammer.export.segments import (
    Segment,
    full_model_of,
    segments_of,
    token_inputs,
    walk,
)
from sledgehammer.model.archive_files import copy_folder, read_member, weights_sha256
from sledgehammer.model.archive_writing import changed_config
from sledgehammer.model.archives import Opened
from sledgehammer.model.chosen_setting import choice_bytes
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.families import TokenTensors
from sledgehammer.network.pretrained import SNAPSHOT
from sledgehammer.policies import CHOICE, ConfidencePolicy, ExitPolicy

__all__ = [
    "PRECISIONS",
    "RUNTIMES",
    "Format",
    "describe",
    "export",
    "random_tokens",
    "range_batches",
]

TOLERANCE = 1e-3
"""How much the logits of a float32 engine may differ from the archive's."""


def export(
    archive: str,
    opened: Opened,
    format: Format,
    folder: Path,
    calibration: Optional[List[TokenTensors]] = None,
    without_exits: bool = False,
) -> Engine:
    """Write an exported model into an empty folder, and open it.

    # Parameters

    archive : `str`
        The archive that `opened` was loaded from.
    calibration : `List[TokenTensors]`, optional
        Batches of tokens, if `Format.needs_calibration`.
    without_exits : `bool`, optional (default = `False`)
        Write the full model as one graph. Its answers mean nothing, only its speed is of interest.

    # Raises

    `ConfigurationError` if the model can't be exported, or if a float32 engine computes other
    logits than the archive.
    """
    model, reader = opened
    if not isinstance(model, MultiExitClassifier):
        raise ConfigurationError(
            f"{archive!r} is exported already: give the archive that it is from"
        )
    format.require_runnable(model.encoder.transformer.config.model_type)
    policy = ConfidencePolicy() if without_exits else model.policy
    if unready := policy.unready():
        raise ConfigurationError(unready)
    # First of all: it is quick, and an archive without a tokenizer is refused here.
    _copy_from_archive(archive, folder, policy.config())
    inputs = token_inputs(model, reader)
    examples = random_tokens(model, inputs)
    segments: List[Segment] = (
        [full_model_of(model, inputs)] if without_exits else segments_of(model, inputs)
    )
    (folder / "segments").mkdir()
    names = _write_segments(segments, format, folder, examples, calibration)
    _write_records(model, folder, with_lexical=not without_exits)
    manifest = describe(
        opened, inputs, policy, exits=slice(-1, None) if without_exits else slice(None),
        runtime=format.runtime, precision=format.precision, segments=names,
        activation_scales=format.activation_scales, source=_source(archive, model),
        versions=_versions(format),
    )  # fmt: skip
    write(folder, manifest)
    engine = load(folder)
    if format.precision == "fp32" and not without_exits:
        _check_logits(model, engine, examples)
    return engine


def describe(
    opened: Opened,
    inputs: List[str],
    policy: ExitPolicy,
    exits: slice = slice(None),
    **written: Any,
) -> Manifest:
    """Return the manifest of a model.

    # Parameters

    inputs : `List[str]`
        What the first segment takes.
    exits : `slice`, optional
        The exits that are exported.
    written : `Any`
        Fields of `Manifest` that say how the segments were written.
    """
    model, reader = opened
    has_all_exits = exits == slice(None)
    shares = model.shares_on_host() if has_all_exits else None
    return Manifest(
        exit_layers=model.exit_layers[exits],
        full_layers=model.full_layers,
        labels=model.labels,
        temperatures=model.temperatures.tolist()[exits],
        policy=policy.config(),
        inputs=inputs,
        fields=list(reader.fields),
        max_length=reader.max_length,
        long_texts=reader.long_texts,
        pad_token_id=reader.pad_token_id,
        signals=list(policy.needs),
        exit_shares=[] if shares is None else shares.tolist(),
        mixing=model.mixing.tolist() if has_all_exits and model.lexical is not None else [],
        **written,
    )


def range_batches(opened: Opened, rows: Sequence[Row], count: int = 300) -> List[TokenTensors]:
    """Return batches of one row each, on which to measure the ranges of the activations."""
    step = max(1, len(rows) // count)
    chosen = rows[::step][:count]
    return [tokens for tokens, _ in token_batches(opened.reader, chosen, batch_size=1)]


def random_tokens(
    model: MultiExitClassifier, inputs: Sequence[str], rows: int = 32, longest: int = 24
) -> TokenTensors:
    """Return rows of random word pieces and lengths: tensors of shape (rows, tokens)."""
    generator = random.Random(0)
    config = model.encoder.transformer.config
    # RoBERTa counts positions from the padding token on: the first two can't be used.
    longest = min(longest, config.max_position_embeddings - 2)
    lengths = torch.tensor([longest, *(generator.randint(2, longest) for _ in range(rows - 1))])
    mask = torch.arange(longest)[None, :] < lengths[:, None]
    pieces = torch.tensor(
        [[generator.randrange(5, config.vocab_size) for _ in range(longest)] for _ in range(rows)]
    )
    padding = config.pad_token_id or 0
    values = {
        "input_ids": torch.where(mask, pieces, torch.full_like(pieces, padding)),
        "attention_mask": mask.long(),
        "token_type_ids": torch.zeros_like(pieces),
    }
    return {name: values[name] for name in inputs}


def _write_segments(
    segments: List[Segment],
    format: Format,
    folder: Path,
    examples: TokenTensors,
    calibration: Optional[List[TokenTensors]],
) -> List[str]:
    names = []
    traced_rows = {name: tensor[:3] for name, tensor in examples.items()}
    batches = [traced_rows, *(calibration or [])]
    suffix = {"onnx": ".onnx", "openvino": ".xml"}[format.runtime]
    for segment, inputs in Tqdm.tqdm(walk(segments, batches), "exporting", total=len(segments)):
        name = f"segments/exit_{segment.head.layer}{suffix}"
        if format.runtime == "onnx":
            onnx.write_segment(segment, inputs[0], folder / name, format.precision)
        else:
            ranges = inputs[1:] if format.needs_calibration else None
            openvino.write_segment(segment, inputs[0], folder / name, ranges)
        names.append(name)
    return names


def _copy_from_archive(archive: str, folder: Path, policy: Dict[str, Any]) -> None:
    """Copy the config and the tokenizer, and nothing else that an archive may hold."""
    (folder / "config.json").write_bytes(
        changed_config(read_member(archive, "config.json"), policy)
    )
    copy_folder(archive, SNAPSHOT, folder)
    if not (folder / TOKENIZER).is_file():
        raise ConfigurationError(
            f"{archive!r} has no {TOKENIZER}: train with include_in_archive: ['transformer']"
        )


def _write_records(model: MultiExitClassifier, folder: Path, with_lexical: bool) -> None:
    """Write which rows the model has seen, what its setting was chosen for, and its lexical exit."""
    (folder / "seen.json").write_text(json.dumps(model.seen.as_lists()), encoding="utf-8")
    if model.choice is not None:
        (folder / CHOICE).write_bytes(choice_bytes(model.choice))
    if model.lexical is not None and with_lexical:
        model.lexical.linear.save(folder / LEXICAL)


def _source(archive: str, model: MultiExitClassifier) -> Dict[str, Any]:
    return {
        "archive": archive,
        "weights_sha256": weights_sha256(archive),
        "fingerprint": model.weights_fingerprint(),
    }


def _versions(format: Format) -> Dict[str, str]:
    libraries = ["torch", "transformers", "tokenizers", "onnx"]
    libraries += {"onnx": ["onnxruntime"], "openvino": ["openvino", "nncf"]}[format.runtime]
    versions: Dict[str, Any] = {"sledgehammer": __version__}
    for library in libraries:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def _check_logits(model: MultiExitClassifier, engine: Engine, tokens: TokenTensors) -> None:
    with torch.no_grad():
        expected = model.runner.run_all_exits(tokens)
    logits, signals = engine.run_all_exits({k: v.numpy() for k, v in tokens.items()})
    difference = float((expected.logits.cpu() - torch.from_numpy(logits)).abs().max())
    for name, signal in signals.items():
        signal_difference = expected.signals[name].cpu() - torch.from_numpy(signal)
        difference = max(difference, float(signal_difference.abs().max()))
    if not difference <= TOLERANCE:
        raise ConfigurationError(
            f"the exported graphs do not compute what the model does: on random word pieces the "
            f"outputs differ by up to {difference:.2g} (allowed: {TOLERANCE:g})"
        )
