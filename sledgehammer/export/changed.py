"""Write a copy of an exported model that has another policy."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional

from allennlp.common.checks import ConfigurationError

from sledgehammer.cards.facts import name_of
from sledgehammer.cards.file import renew
from sledgehammer.cards.metadata import CardError
from sledgehammer.cards.of_engine import VERIFICATION, facts_of_engine
from sledgehammer.engine.curve import Curve
from sledgehammer.engine.manifest import MANIFEST, EngineError, Manifest, is_engine, read, write
from sledgehammer.model.archive_writing import changed_config
from sledgehammer.model.chosen_setting import choice_bytes
from sledgehammer.policies import CHOICE, Choice
from sledgehammer.support.files import no_folder_for, replacing_folder

logger = logging.getLogger(__name__)


def check_directory(target: Path, force: bool) -> None:
    """Raise a `ConfigurationError` if an exported model must not be written to `target`."""
    if problem := no_folder_for(target):
        raise ConfigurationError(problem)
    if not target.exists():
        return
    if not force:
        raise ConfigurationError(f"{str(target)!r} exists: give another name, or --force")
    if not is_engine(target):
        raise ConfigurationError(
            f"{str(target)!r} is not an exported model, so --force does not replace it"
        )


def write_with_choice(
    source: Path,
    target: Path,
    policy: Dict[str, Any],
    seen_rows: Dict[str, List[int]],
    choice: Choice,
    curve: Optional[Curve] = None,
    overwrite: bool = True,
) -> None:
    """Write a copy of an exported model with another policy.

    # Parameters

    source : `Path`
    target : `Path`
        See `check_directory`; it may be the source itself. It appears when it is whole.
    policy : `Dict[str, Any]`
        The policy's config.
    seen_rows : `Dict[str, List[int]]`
        Fingerprints of rows, as `SeenRows.as_lists` returns them.
    choice : `Choice`
        What the policy's setting was chosen for.
    curve : `Curve`, optional
        Replaces the one that the model has.
    overwrite : `bool`, optional (default = `True`)
        Whether to replace a model that another process has written to `target` in the meantime.

    # Raises

    `ConfigurationError` if the source is damaged.
    """
    try:
        manifest = read(source)
    except EngineError as error:
        raise ConfigurationError(str(error)) from error
    with replacing_folder(target, overwrite) as folder:
        left_out = shutil.ignore_patterns(MANIFEST, VERIFICATION)
        shutil.copytree(source, folder, ignore=left_out, dirs_exist_ok=True)
        config = folder / "config.json"
        config.write_bytes(changed_config(config.read_bytes(), policy))
        (folder / "seen.json").write_text(json.dumps(seen_rows), encoding="utf-8")
        (folder / CHOICE).write_bytes(choice_bytes(choice))
        if curve is not None:
            curve.save(folder)
        changed = dataclasses.replace(manifest, policy=policy)
        write(folder, changed)
        _renew_card(folder, changed, name_of(target))


def _renew_card(folder: Path, manifest: Manifest, name: str) -> None:
    try:
        if not renew(folder, facts_of_engine(folder, manifest, name)):
            logger.warning("the model card was edited, so it stays as it was (see `card --force`)")
    except (CardError, EngineError) as error:
        logger.warning("no model card could be written: %s", error)
