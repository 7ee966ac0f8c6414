"""Write archives: changed copies of others, and those of training runs."""

import glob
import io
import json
import os
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Union

from allennlp.common.checks import ConfigurationError
from allennlp.common.meta import META_NAME
from allennlp.models.archival import CONFIG_NAME
from allennlp.models.model import _DEFAULT_WEIGHTS
from torch import Tensor

from sledgehammer.cards.facts import name_of
from sledgehammer.engine.manifest import is_engine
from sledgehammer.model.archive_card import CARD_FILES, CardOfCopy, write_run_card
from sledgehammer.model.archive_files import WEIGHTS_NAME, archive_file, reporting_damage
from sledgehammer.model.weights import WeightsError, read_weights, write_weights
from sledgehammer.support import tars
from sledgehammer.support.files import check_folder, replacing


def check_target(target: Path, source: str, force: bool) -> None:
    """Check that a changed copy of `source` may be written to `target`.

    # Raises

    `ConfigurationError` if `source` is an exported model, which cannot be changed; if `target` is
    `source` itself, or exists and `force` is false; or if its folder does not exist.
    """
    if is_engine(source):
        raise ConfigurationError(
            f"{source!r} is an exported model, which can't be changed: give the archive that it "
            "was exported from, and export the new archive"
        )
    check_folder(target)
    if target.exists():
        if target.samefile(archive_file(source)):
            raise ConfigurationError(f"{str(target)!r} is the old archive: give another name")
        if not force:
            raise ConfigurationError(f"{str(target)!r} exists: give another name, or --force")


def write_changed(
    source: str,
    target: Path,
    weights: Dict[str, Tensor],
    policy: Optional[Dict[str, Any]] = None,
    extra: Optional[Dict[str, bytes]] = None,
    dtype: Optional[str] = None,
    overwrite: bool = True,
    lexical: Optional[Dict[str, Any]] = None,
) -> None:
    """Write a changed copy of an archive.

    # Parameters

    source : `str`
    target : `Path`
        See `check_target`. The file appears only once it is complete.
    weights : `Dict[str, Tensor]`
        Entries of the model's state that replace the old ones.
    policy : `Dict[str, Any]`, optional
        The policy's config, if it changes.
    extra : `Dict[str, bytes]`, optional
        Files to add, by name; they replace files of the same name.
    dtype : `str`, optional
        The number format of inference, if it changes.
    overwrite : `bool`, optional (default = `True`)
        Whether to replace an archive that has appeared at `target` in the meantime.
    lexical : `Dict[str, Any]`, optional
        The config of a lexical exit, if the model gets one.
    """
    card = CardOfCopy(name_of(target), extra or {})
    changes: Dict[str, Callable[[bytes], Optional[bytes]]] = {
        **{name: partial(card.pass_on, name) for name in CARD_FILES},
        WEIGHTS_NAME: lambda old: _changed_weights(old, weights, card),
        CONFIG_NAME: lambda old: card.pass_on(
            CONFIG_NAME, changed_config(old, policy, dtype, lexical)
        ),
    }
    with reporting_damage(source), replacing(target, overwrite) as new:
        tars.rewrite(archive_file(source), new, changes, extra or {}, card.members)


def _changed_weights(old: bytes, weights: Dict[str, Tensor], card: CardOfCopy) -> bytes:
    try:
        state = read_weights(io.BytesIO(old))
    except WeightsError as error:
        raise ConfigurationError(f"{WEIGHTS_NAME}: {error}") from error
    changed = {name: tensor.cpu() for name, tensor in weights.items()}
    card.take_weights(state, changed)
    state.update(changed)
    return write_weights(state)


def changed_config(
    old: bytes,
    policy: Optional[Dict[str, Any]],
    dtype: Optional[str] = None,
    lexical: Optional[Dict[str, Any]] = None,
) -> bytes:
    """Return an archive's config with another policy, number format of inference or lexical exit."""
    config: Dict[str, Any] = json.loads(old)
    if policy is not None:
        config["model"]["policy"] = policy
    if dtype is not None:
        config["model"]["inference_dtype"] = dtype
    if lexical is not None:
        config["model"]["lexical"] = lexical
        for name in ("dataset_reader", "validation_dataset_reader"):
            if config.get(name):
                config[name]["lexical"] = True
    return json.dumps(config, indent=4).encode()


def archive_run(
    serialization_dir: Union[str, "os.PathLike[str]"],
    weights: str = _DEFAULT_WEIGHTS,
    archive_path: Union[str, "os.PathLike[str]", None] = None,
    include_in_archive: Optional[List[str]] = None,
) -> str:
    """Archive a training run as AllenNLP's `archive_model` does, with checksums.

    The archive appears only once it is complete. The folder and the archive get a model card, if the
    model is one of ours and nobody has edited the card that is there.

    # Raises

    `RuntimeError`, as `archive_model` does, if the folder has no weights or config.
    """
    folder = Path(serialization_dir)
    required = {CONFIG_NAME: folder / CONFIG_NAME, WEIGHTS_NAME: folder / weights}
    for file in required.values():
        if not file.exists():
            raise RuntimeError(f"{str(file)!r} does not exist: unable to archive the model")
    target = folder if archive_path is None else Path(archive_path)
    if target.is_dir():
        target = target / "model.tar.gz"
    files = {**required, "vocabulary": folder / "vocabulary"}
    if (folder / META_NAME).exists():
        files[META_NAME] = folder / META_NAME
    files.update(write_run_card(folder, files[WEIGHTS_NAME]))
    for pattern in include_in_archive or []:
        for path in glob.glob(str(folder / pattern)):
            files[os.path.relpath(path, folder)] = Path(path)
    with replacing(target) as new, tars.CheckedTar.open(new, "w:gz") as archive:
        for name, file in files.items():
            archive.add(file, arcname=name)
    return str(target)
