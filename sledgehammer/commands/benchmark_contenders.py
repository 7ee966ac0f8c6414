"""Collect what `allennlp benchmark` times: the user's models at their settings, and rivals."""

import argparse
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import run_all_exits, tradeoff_of
from sledgehammer.analysis.tradeoff import Point
from sledgehammer.benchmark.contenders import Contender
from sledgehammer.dataset_readers.base import Row
from sledgehammer.engine.manifest import is_engine
from sledgehammer.export.directory import Format, export, range_batches
from sledgehammer.model.archive_files import weights_sha256
from sledgehammer.model.archives import Opened, open_archive

RIVALS = {
    "eager": "transformers' full model, float32",
    "eager-bf16": "transformers' full model, bfloat16",
    "cut": "transformers' models cut after each exit's layer, float32",
    "onnx-fp32": "the full model in ONNX Runtime, float32",
    "onnx-int8": "the full model in ONNX Runtime, int8",
    "openvino-bf16": "the full model in OpenVINO, bfloat16",
    "openvino-int8": "the full model in OpenVINO, int8",
}
STANDARD = "standard, eager"
"""The standard baseline's name among the contenders."""


def add_rivals(group: Any) -> None:
    """Add the options that ask for rivals to a group of arguments."""
    group.add_argument(
        "--weights", metavar="ARCHIVE",
        help="the archive with the rivals' weights, if an exported model's own archive has moved",
    )  # fmt: skip
    for name, description in RIVALS.items():
        group.add_argument(f"--{name}", action="store_true", help=description)
    group.add_argument(
        "--standard", metavar="ARCHIVE",
        help="also time the standard baseline: an archive trained with one exit at the top layer",
    )  # fmt: skip
    group.add_argument(
        "--all-rivals", action="store_true", help="all of these that run on this machine"
    )


def check_paths(arguments: argparse.Namespace) -> None:
    """Check the models to be timed before anything is opened.

    # Raises

    `ConfigurationError` if a model is given twice, if an option does not apply to an exported
    model, or if there is no such GPU.
    """
    gpus = torch.cuda.device_count()
    if arguments.cuda_device >= gpus:
        raise ConfigurationError(
            f"--cuda-device {arguments.cuda_device}: this machine has {gpus} GPUs, counted from 0; "
            "leave the option out to run on the CPU"
        )
    paths = [arguments.archive, *arguments.engine]
    earlier: Dict[Path, str] = {}
    for path in paths:
        place = _folder(path).resolve()
        if place in earlier:
            raise ConfigurationError(f"{path!r} is given twice: a run times each model once")
        earlier[place] = path
        if arguments.overrides and is_engine(path):
            raise ConfigurationError(
                f"--overrides does not apply to {path!r}: an exported model is timed as it was "
                "written; export the archive again with --overrides"
            )
        if arguments.cuda_device >= 0 and is_engine(path):
            raise ConfigurationError(
                f"--cuda-device: {path!r} is an exported model and runs on the CPU; leave the "
                "option out"
            )


def name_points(
    points: Dict[str, List[Point]], arguments: argparse.Namespace
) -> Dict[Contender, Point]:
    """Return a contender, with its point, for each point of each model; `points` go by path."""
    names = short_names(list(points))
    contenders = {}
    for path, timed in points.items():
        kind = "engine" if is_engine(path) else "archive"
        at = {point.number: point for point in timed}
        for label, (setting, point) in zip(_distinct_numbers(list(at)), at.items()):
            contender = Contender(
                f"{names[path]} at {label}", kind, path, setting,
                overrides=arguments.overrides, cuda_device=arguments.cuda_device,
            )  # fmt: skip
            contenders[contender] = point
    return contenders


def short_names(paths: Sequence[str]) -> Dict[str, str]:
    """Name each model by the fewest last parts of its path that tell it from the others."""
    parts = {path: _folder(path).parts for path in paths}
    names = {}
    for path in paths:
        count = 1
        while any(parts[p][-count:] == parts[path][-count:] for p in paths if p != path):
            count += 1
        name = str(Path(*parts[path][-count:]))
        names[path] = name if is_engine(path) else f"{name}, eager"
    return names


def _folder(path: str) -> Path:
    """Return the name that users know an archive by: its folder, if it is a `model.tar.gz`."""
    return Path(path.removesuffix("/model.tar.gz"))


def _distinct_numbers(values: Sequence[float]) -> List[str]:
    """Write numbers with the fewest digits, but at least four, that tell them apart."""
    for digits in range(4, 17):
        written = [f"{value:.{digits}g}" for value in values]
        if len(set(written)) == len(values):
            return written
    return [repr(value) for value in values]


def open_standard(arguments: argparse.Namespace, rows: List[Row]) -> Dict[Contender, Point]:
    """Return the `--standard` baseline with its point on the data, or nothing without the option.

    # Raises

    `ConfigurationError` if the archive is not a standard baseline.
    """
    if arguments.standard is None:
        return {}
    opened = open_archive(arguments.standard, arguments.cuda_device)
    exits = opened.model.exit_layers
    if exits != [opened.model.full_layers - 1] or is_engine(arguments.standard):
        raise ConfigurationError(
            f"--standard {arguments.standard} is not a standard baseline, an archive with a single "
            f"exit at the top layer: it has exits at layers {', '.join(map(str, exits))}"
        )
    outputs = run_all_exits(opened.model, opened.reader, rows, arguments.batch_size)
    tradeoff = tradeoff_of(opened, outputs)
    contender = Contender(
        STANDARD, "archive", arguments.standard, tradeoff.full, cuda_device=arguments.cuda_device
    )
    return {contender: tradeoff.curve([tradeoff.full])[0]}


def find_weights(arguments: argparse.Namespace, first: Opened) -> Optional[str]:
    """Return the archive with the weights of the first model, if it can be found."""
    if arguments.weights or not is_engine(arguments.archive):
        return arguments.weights or arguments.archive
    model: Any = first.model
    source = model.engine.manifest.source
    if not Path(source["archive"]).exists():
        return None
    is_same = weights_sha256(source["archive"]) == source["weights_sha256"]
    return source["archive"] if is_same else None


def choose_rivals(
    arguments: argparse.Namespace, weights: Optional[str], rows: List[Row], folder: Path
) -> Tuple[List[Contender], Dict[str, str]]:
    """Make the requested rivals, and export to `folder` those that need it.

    # Returns

    The rivals; and by name the reason for each that is missing.
    """
    requested = [
        name
        for name in RIVALS
        if arguments.all_rivals or getattr(arguments, name.replace("-", "_"))
    ]
    problems = {name: _why_missing(name, weights, arguments.cuda_device) for name in requested}
    missing = {name: problem for name, problem in problems.items() if problem}
    present = [name for name in requested if name not in missing]
    if arguments.all_rivals and arguments.standard is None:
        missing["standard"] = "give --standard ARCHIVE, trained with one exit at the top layer"
    if not present:
        return [], missing
    assert weights is not None
    opened = open_archive(weights, overrides=arguments.overrides)
    rivals: List[Contender] = []
    for name in present:
        if name == "cut" or name.startswith("eager"):
            rivals += _eager_rivals(name, weights, opened, arguments)
        else:
            rivals.append(_exported_rival(name, weights, opened, rows, folder))
    return rivals, missing


def _why_missing(name: str, weights: Optional[str], cuda_device: int) -> Optional[str]:
    if weights is None:
        return "the exported model's archive is gone or has changed: give --weights"
    if "eager" in name or name == "cut":
        return None
    if cuda_device >= 0:
        return "exported models run on the CPU"
    try:
        Format(*name.split("-")).require_libraries()
    except ConfigurationError as error:
        return error.message
    return None


def _eager_rivals(
    name: str, weights: str, opened: Opened, arguments: argparse.Namespace
) -> List[Contender]:
    dtype = "bfloat16" if name.endswith("bf16") else "float32"
    layers = opened.model.network_layers
    positions = (
        {f"cut after layer {layer}": position for position, layer in enumerate(layers[:-1])}
        if name == "cut"
        else {f"full, {name}": -1}
    )
    return [
        Contender(
            label, "transformers", weights, dtype=dtype, exit=position,
            overrides=arguments.overrides, cuda_device=arguments.cuda_device,
        )
        for label, position in positions.items()
    ]  # fmt: skip


def _exported_rival(
    name: str, weights: str, opened: Opened, rows: List[Row], folder: Path
) -> Contender:
    format = Format(*name.split("-"))
    target = folder / name
    target.mkdir()
    ranges = range_batches(opened, rows) if format.needs_calibration else None
    export(weights, opened, format, target, ranges, without_exits=True)
    return Contender(f"full, {name}", "engine", str(target))
