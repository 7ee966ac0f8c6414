"""What is replaced in AllenNLP's own `train`.

A run that fails before its first checkpoint leaves its folder as it was, so that the next try is
not refused; one that was killed then is cleared away by the next try, which `--recover` goes on
with too. The archive appears when it is whole, with checksums.
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

from sledgehammer.commands.errors import as_command
from sledgehammer.model.archives import archive_run
from sledgehammer.support.owned import owned_file, remove_abandoned

_MARK = ".{}.running."
"""How a file beside the folder of a run begins that is locked for as long as the run lasts."""

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
    """Do what AllenNLP's function does; see the module for what differs."""
    with as_command("train"):
        _check_config(parameter_filename, overrides)
        folder = Path(serialization_dir).resolve()
        if not force:
            recover = _clear_after_kill(folder, recover)
        fresh = force or not _has_files(folder)
        with _leaving_nothing(folder, fresh), _marked(folder):
            return _from_file(
                parameter_filename, serialization_dir, overrides, recover, force, **options
            )


def _check_config(file: AnyPath, overrides: Union[str, Dict[str, Any]]) -> None:
    """Raise a `ConfigurationError` for what can't be evaluated."""
    try:
        Params.from_file(file, overrides)
    except ConfigurationError:
        raise
    # Jsonnet's mistakes are a `RuntimeError`, those of overrides nearly anything.
    except Exception as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise ConfigurationError(f"the config {str(file)!r} with its overrides: {told}") from error


def _clear_after_kill(folder: Path, recover: bool) -> bool:
    """Mend or remove what a killed run left; whether there is still something to recover."""
    if not folder.is_dir():
        return recover
    killed = remove_abandoned(folder.parent, _MARK.format(folder.name))
    checkpoints = _mended_checkpoints(folder) if recover else _checkpoints(folder)
    if killed and not checkpoints and not (folder / "model.tar.gz").exists():
        _empty(folder)
        return False
    return recover


@contextmanager
def _leaving_nothing(folder: Path, fresh: bool) -> Iterator[None]:
    """Remove what a failing run has written into a fresh folder, unless there are checkpoints."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        if _checkpoints(folder):
            print(
                f"the checkpoints in {folder} stay: --recover goes on from the last one",
                file=sys.stderr,
            )
        elif fresh:
            _empty(folder)
            with suppress(OSError):
                for path in made:
                    path.rmdir()
        raise


@contextmanager
def _marked(folder: Path) -> Iterator[None]:
    """Mark the folder as that of a run that lasts, where the folder above can be written to."""
    with ExitStack() as stack:
        with suppress(OSError):
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(owned_file(folder.parent, _MARK.format(folder.name)))
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
    """Return the files of each checkpoint by its epochs and batches."""
    found: Dict[Tuple[int, int], List[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else []:
        if match := _STATE.fullmatch(path.name):
            found.setdefault((int(match[2]), int(match[3])), []).append(path)
    return found


def _mended_checkpoints(folder: Path) -> Dict[Tuple[int, int], List[Path]]:
    """Remove checkpoints that were not written to their end, and have `best.th` fit the last."""
    found = _checkpoints(folder)
    for key, files in list(found.items()):
        if len(files) < 2 or not all(map(zipfile.is_zipfile, files)):
            for file in found.pop(key):
                file.unlink()
    if found:
        (_, batches), files = max(found.items())
        training, model = sorted(files, key=lambda file: file.name, reverse=True)
        if batches == 0 and _was_best(training):
            _link(model, folder / _BEST)
    return found


def _was_best(training_state: Path) -> bool:
    """Whether the best weights so far are those of this checkpoint, as the trainer saw it.

    It saves a checkpoint first, and then copies it to `best.th`.
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
