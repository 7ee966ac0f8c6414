"""Patch AllenNLP's own `train`.

A run that fails before its first checkpoint leaves its folder as it was, so that the next run is
not refused. If it was killed instead, the next run clears its files away, with `--recover` too.
The archive appears only once it is complete, with checksums.
"""

import os
import re
import shutil
import sys
import zipfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

import torch
from allennlp.commands import train as allennlp_train
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.models import Model

from sledgehammer.commands.errors import one_line_errors_if_running
from sledgehammer.model.archive_writing import archive_run
from sledgehammer.support.owned import owned_file, remove_abandoned

_RUNNING = ".{}.running."
"""The beginning of the name of a file beside a run's folder, locked as long as the run lasts."""

_STATE = re.compile(r"(model|training)_state_e(\d+)_b(\d+)\.th")
_BEST = "best.th"

_from_file = allennlp_train.train_model_from_file

AnyPath = Union[str, "os.PathLike[str]"]


def train_model_from_file(
    parameter_filename: AnyPath,
    serialization_dir: AnyPath,
    overrides: Union[str, Dict[str, Any]] = "",
    recover: bool = False,
    force: bool = False,
    **options: Any,
) -> Optional[Model]:
    """Train as AllenNLP's function does; the module says what differs."""
    with one_line_errors_if_running("train"):
        _check_config(parameter_filename, overrides)
        folder = Path(serialization_dir).resolve()
        if not force:
            recover = _clear_after_kill(folder, recover)
        fresh = force or not _has_files(folder)
        with _cleaned_up_on_failure(folder, fresh), _marked_as_running(folder):
            return _from_file(
                parameter_filename, serialization_dir, overrides, recover, force, **options
            )


def _check_config(file: AnyPath, overrides: Union[str, Dict[str, Any]]) -> None:
    """Raise a `ConfigurationError` for a config that cannot be evaluated."""
    try:
        Params.from_file(file, overrides)
    except ConfigurationError:
        raise
    # Jsonnet raises a `RuntimeError`; wrong overrides raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigurationError(
            f"the config {str(file)!r} with its overrides: {reason}"
        ) from error


def _clear_after_kill(folder: Path, recover: bool) -> bool:
    """Repair or remove what a killed run left; return whether to recover from the rest."""
    if not folder.is_dir():
        return recover
    killed = remove_abandoned(folder.parent, _RUNNING.format(folder.name))
    checkpoints = _repaired_checkpoints(folder) if recover else _checkpoints(folder)
    if killed and not checkpoints and not (folder / "model.tar.gz").exists():
        _empty(folder)
        return False
    return recover


@contextmanager
def _cleaned_up_on_failure(folder: Path, fresh: bool) -> Iterator[None]:
    """Remove what a failing run has written to a fresh folder, unless there are checkpoints."""
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        if _checkpoints(folder):
            print(
                f"the checkpoints in {folder} are kept: --recover continues from the last one",
                file=sys.stderr,
            )
        elif fresh:
            _empty(folder)
            with suppress(OSError):
                for path in new_folders:
                    path.rmdir()
        raise


@contextmanager
def _marked_as_running(folder: Path) -> Iterator[None]:
    """Mark a folder as in use by a run, if the folder above it can be written to."""
    with ExitStack() as stack:
        with suppress(OSError):
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(owned_file(folder.parent, _RUNNING.format(folder.name)))
        yield


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _empty(folder: Path) -> None:
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _checkpoints(folder: Path) -> Dict[Tuple[int, int], List[Path]]:
    """Return the files of each checkpoint, by epoch and batch."""
    checkpoints: Dict[Tuple[int, int], List[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else []:
        if match := _STATE.fullmatch(path.name):
            checkpoints.setdefault((int(match[2]), int(match[3])), []).append(path)
    return checkpoints


def _repaired_checkpoints(folder: Path) -> Dict[Tuple[int, int], List[Path]]:
    """Remove incomplete checkpoints, and make `best.th` agree with the last complete one."""
    checkpoints = _checkpoints(folder)
    for key, files in list(checkpoints.items()):
        if len(files) < 2 or not all(map(zipfile.is_zipfile, files)):
            for file in checkpoints.pop(key):
                file.unlink()
    if checkpoints:
        (_, batches), files = max(checkpoints.items())
        training, model = sorted(files, key=lambda file: file.name, reverse=True)
        if batches == 0 and _was_best(training):
            _link(model, folder / _BEST)
    return checkpoints


def _was_best(training_state: Path) -> bool:
    """Return whether the trainer held this checkpoint's weights to be the best so far.

    It saves a checkpoint first and then copies it to `best.th`; a kill in between leaves an older
    `best.th`.
    """
    state = torch.load(training_state, map_location="cpu")
    return "moving_average" not in state and bool(state["metric_tracker"]["is_best_so_far"])


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


allennlp_train.train_model_from_file = train_model_from_file  # type: ignore[assignment]
allennlp_train.archive_model = archive_run
