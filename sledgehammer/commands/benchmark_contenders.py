"""What `allennlp benchmark` times: the user's models at their settings, and their rivals."""

import argparse
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, cast

import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import replay, run_all_exits
from sledgehammer.analysis.tradeoff import Point
from sledgehammer.benchmark.contenders import Contender
from sledgehammer.dataset_readers.base import Row
from sledgehammer.engine.manifest import is_engine
from sledgehammer.export.directory import Format, export, range_batches
from sledgehammer.model.archives import Opened, open_archive, weights_sha256

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
"""The name of the standard baseline among the contenders."""


def add_rivals(group: Any) -> None:
    """Add the options that ask for rivals to a group of arguments."""
    group.add_argument(
        "--weights", metavar="ARCHIVE",
        help="where the rivals' weights come from, if an exported model's archive has moved",
    )  # fmt: skip
    for name, description in RIVALS.items():
        group.add_argument(f"--{name}", action="store_true", help=description)
    group.add_argument(
        "--standard", metavar="ARCHIVE",
        help="the standard baseline, trained with one exit at the top: its accuracy and its times",
    )  # fmt: skip
    group.add_argument(
        "--all-rivals", action="store_true", help="all of these that can be had here"
    )


def check_paths(arguments: argparse.Namespace) -> None:
    """Check what is to be timed before anything is opened.

    # Raises

    `ConfigurationError` if a model is given twice, if it is an exported one and the options
    cannot reach it, or if there is no such GPU.
    """
    gpus = torch.cuda.device_count()
    if arguments.cuda_device >= gpus:
        raise ConfigurationError(
            f"--cuda-device {arguments.cuda_device}: there are {gpus} GPUs here, counted from 0; "
            "leave it out to run on the CPU"
        )
    paths = [arguments.archive, *arguments.engine]
    earlier: Dict[Path, str] = {}
    for path in paths:
        place = _folder(path).resolve()
        if place in earlier:
            raise ConfigurationError(f"{path!r} is given twice: each model is timed once a run")
        earlier[place] = path
        if arguments.overrides and is_engine(path):
            raise ConfigurationError(
                f"--overrides cannot reach {path!r}: an exported model is timed as it was written; "
                "export the archive again with --overrides"
            )
        if arguments.cuda_device >= 0 and is_engine(path):
            raise ConfigurationError(
                f"--cuda-device: {path!r} is an exported model and runs on the CPU; leave it out"
            )


def name_points(
    points: Dict[str, List[Point]], arguments: argparse.Namespace
) -> Dict[Contender, Point]:
    """Make a contender of every model, by its path, at every point that it is timed at."""
    names = short_names(list(points))
    contenders = {}
    for path, timed in points.items():
        kind = "engine" if is_engine(path) else "archive"
        at = {cast(float, point.setting): point for point in timed}
        for label, (setting, point) in zip(_distinct_numbers(list(at)), at.items()):
            contender = Contender(
                f"{names[path]} at {label}", kind, path, setting,
                overrides=arguments.overrides, cuda_device=arguments.cuda_device,
            )  # fmt: skip
            contenders[contender] = point
    return contenders


def short_names(paths: Sequence[str]) -> Dict[str, str]:
    """Name each model by as few last parts of its path as tell it from the others."""
    parts = {path: _folder(path).parts for path in paths}
    names = {}
    for path in paths:
        count = 1
        while any(parts[o][-count:] == parts[path][-count:] for o in paths if o != path):
            count += 1
        name = str(Path(*parts[path][-count:]))
        names[path] = name if is_engine(path) else f"{name}, eager"
    return names


def _folder(path: str) -> Path:
    """Return what a user calls an archive: its folder, where it has AllenNLP's usual name."""
    return Path(path.removesuffix("/model.tar.gz"))


def _distinct_numbers(values: Sequence[float]) -> List[str]:
    """Write different numbers with as few digits, but at least four, as tell them apart."""
    for digits in range(4, 17):
        written = [f"{value:.{digits}g}" for value in values]
        if len(set(written)) == len(values):
            return written
    return [repr(value) for value in values]


def open_standard(arguments: argparse.Namespace, rows: List[Row]) -> Dict[Contender, Point]:
    """Return the standard baseline and what it gives on the data; nothing if it is not asked for.

    # Raises

    `ConfigurationError` if the archive is none of a standard baseline.
    """
    if arguments.standard is None:
        return {}
    opened = open_archive(arguments.standard, arguments.cuda_device)
    exits = opened.model.exit_layers
    if exits != [opened.model.full_layers - 1] or is_engine(arguments.standard):
        raise ConfigurationError(
            f"--standard {arguments.standard} is no standard baseline: that is an archive with one "
            f"exit, at the top layer; this one has exits at {', '.join(map(str, exits))}"
        )
    outputs = run_all_exits(opened.model, opened.reader, rows, arguments.batch_size)
    tradeoff = replay(opened, outputs)
    contender = Contender(
        STANDARD, "archive", arguments.standard, tradeoff.full, cuda_device=arguments.cuda_device
    )
    return {contender: tradeoff.curve([tradeoff.full])[0]}


def find_weights(arguments: argparse.Namespace, first: Opened) -> Optional[str]:
    """Return the archive with the weights of what is timed, if it can be found."""
    if arguments.weights or not is_engine(arguments.archive):
        return arguments.weights or arguments.archive
    model: Any = first.model
    source = model.engine.manifest.source
    if not Path(source["archive"]).exists():
        return None
    same = weights_sha256(source["archive"]) == source["weights_sha256"]
    return source["archive"] if same else None


def choose_rivals(
    arguments: argparse.Namespace, weights: Optional[str], rows: List[Row], folder: Path
) -> Tuple[List[Contender], Dict[str, str]]:
    """Make the rivals that were asked for, exported ones in `folder`.

    # Returns

    The rivals, and why others of them are missing.
    """
    asked = [
        name
        for name in RIVALS
        if arguments.all_rivals or getattr(arguments, name.replace("-", "_"))
    ]
    problems = {name: _why_missing(name, weights, arguments.cuda_device) for name in asked}
    missing = {name: problem for name, problem in problems.items() if problem}
    present = [name for name in asked if name not in missing]
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
        return "the exported model's archive is gone or changed: give --weights"
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
    layers = opened.model.exit_layers
    made = (
        {f"cut after layer {layer}": position for position, layer in enumerate(layers[:-1])}
        if name == "cut"
        else {f"full, {name}": -1}
    )
    return [
        Contender(
            label, "transformers", weights, dtype=dtype, exit=position,
            overrides=arguments.overrides, cuda_device=arguments.cuda_device,
        )
        for label, position in made.items()
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
