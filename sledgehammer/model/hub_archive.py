"""Send archives to the hub, and take them from there: weights as safetensors, and nothing that runs.

A repository holds what an archive holds, unpacked, with the weights as `model.safetensors` in place
of a pickle, and `checksums.json`, which lists the SHA-256 of every other file but the card.
"""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List

from allennlp.common.checks import ConfigurationError
from allennlp.models.archival import CONFIG_NAME

from sledgehammer.engine.from_hub import fetch_listed
from sledgehammer.engine.manifest import CARD, sha256
from sledgehammer.engine.publishable import ARCHIVE_MANIFEST, WEIGHTS, problem_in, refused
from sledgehammer.model.archive_files import WEIGHTS_NAME, archive_file, reporting_damage
from sledgehammer.model.weights import WeightsError, read_weights, write_weights
from sledgehammer.support import tars
from sledgehammer.support.files import replacing
from sledgehammer.support.hub import HubError, HubName, NoSuchFile, fetch

FORMAT = 1

CACHE = "SLEDGEHAMMER_CACHE"
"""The environment variable that names the folder of archives that were put together again."""


def unpack_for_hub(path: str, folder: Path) -> List[str]:
    """Write what a repository of an archive holds into an empty folder, and return its files.

    # Raises

    `ConfigurationError` if there is no archive, or it holds a file that none has, or a config that
    names classes by the modules that they are in: nobody could load it from the hub.
    """
    content = folder / "content"
    content.mkdir()
    with reporting_damage(path):
        tars.extract(archive_file(path), content)
    try:
        state = read_weights(content / WEIGHTS_NAME)
    except (WeightsError, FileNotFoundError) as error:
        raise ConfigurationError(f"{path!r}: {WEIGHTS_NAME}: {error}") from error
    _save_safetensors(state, content / WEIGHTS)
    (content / WEIGHTS_NAME).unlink()
    for lock in content.glob("vocabulary/.lock"):
        lock.unlink()
    _check_config(content / CONFIG_NAME, path)
    files = [str(f.relative_to(content)) for f in sorted(content.rglob("*")) if f.is_file()]
    digests = {file: sha256(content / file) for file in files if file != CARD}
    manifest = {"format": FORMAT, "sha256": digests}
    (content / ARCHIVE_MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return [*files, ARCHIVE_MANIFEST]


def archive_from_hub(name: str) -> Path:
    """Return an archive that was put together from the files of a repository on the hub.

    It lies in a cache of its own, by the commit, since AllenNLP reads archives in one file.

    # Raises

    `ConfigurationError` if it can't be had, is damaged, or is not what it should be.
    """
    try:
        wanted = HubName.parse(name)
        try:
            manifest = fetch(wanted, ARCHIVE_MANIFEST)
        except NoSuchFile as error:
            raise ConfigurationError(
                f"{wanted} is not a model of sledgehammer: it has neither engine.json nor "
                f"{ARCHIVE_MANIFEST}"
            ) from error
        commit = HubName(wanted.repo, manifest.parent.name)
        digests = _digests(manifest, str(wanted))
        places = {file: fetch_listed(commit, file) for file in digests}
    except HubError as error:
        raise ConfigurationError(str(error)) from error
    for file, place in places.items():
        if sha256(place) != digests[file]:
            raise ConfigurationError(
                f"{wanted} is damaged: {file} has changed since it was written (or remove {place}, "
                "to download it anew)"
            )
        if problem := problem_in(place):
            raise ConfigurationError(f"{wanted}: {file}: {problem}")
    _check_config(places[CONFIG_NAME], str(wanted))
    target = _cache() / commit.repo.replace("/", "--") / f"{commit.revision}.tar.gz"
    if not target.is_file():
        _put_together(places, target, str(wanted))
    return target


def _put_together(places: Dict[str, Path], target: Path, name: str) -> None:
    from safetensors.torch import load_file

    try:
        state = load_file(str(places[WEIGHTS]))
    except Exception as error:  # the library raises nothing more special
        raise ConfigurationError(f"{name}: {WEIGHTS}: {error}") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial, tars.CheckedTar.open(partial, "w:") as archive:
        archive.add_bytes(CONFIG_NAME, places[CONFIG_NAME].read_bytes())
        archive.add_bytes(WEIGHTS_NAME, write_weights(state))
        for file, place in places.items():
            if file not in (CONFIG_NAME, WEIGHTS):
                archive.add_bytes(file, place.read_bytes())


def _digests(manifest: Path, name: str) -> Dict[str, str]:
    """Return the SHA-256 of each file of a repository.

    # Raises

    `ConfigurationError` if the manifest can't be read, or lists what no archive has, or lacks what
    every one has.
    """
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r:.80} is not known to this version")
        digests: Dict[str, str] = dict(content["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"{name}: {ARCHIVE_MANIFEST} is damaged: {error}") from error
    if bad := refused(digests, "archive"):
        raise ConfigurationError(
            f"{name} lists {bad[0]}, which no archive has: nothing more is downloaded"
        )
    if missing := [file for file in (CONFIG_NAME, WEIGHTS) if file not in digests]:
        raise ConfigurationError(f"{name}: {ARCHIVE_MANIFEST} does not list {missing[0]}")
    return digests


def _check_config(file: Path, name: str) -> None:
    """Raise a `ConfigurationError` for a config that asks for others' classes.

    AllenNLP imports a module that a config names, wherever a class may stand; here, only classes
    that are registered may be named, and the model and the readers are ours.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kinds = [config[part]["type"] for part in ("model", "dataset_reader")]
        kinds.append((config.get("validation_dataset_reader") or config["dataset_reader"])["type"])
        if kinds[0] != "sledgehammer" or not all(k.startswith("sledgehammer_") for k in kinds[1:]):
            raise ValueError("the model or a reader is not one of sledgehammer's")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"{name}: {CONFIG_NAME}: {error}") from error
    for text in _texts(config):
        if _names_module(text):
            raise ConfigurationError(
                f"{name}: {CONFIG_NAME} names {text!r:.200} by its module: models on the hub may "
                "only name classes that are registered"
            )


def _names_module(text: str) -> bool:
    """Return whether AllenNLP could import what a text names."""
    first, dot, _ = text.partition(".")
    if not dot or not all(part.isidentifier() for part in text.split(".")):
        return False
    return importlib.util.find_spec(first) is not None


def _texts(config: Any) -> Iterator[str]:
    """Yield every text in a config but the paths of data."""
    if isinstance(config, str):
        yield config
    elif isinstance(config, dict):
        for key, value in config.items():
            if not key.endswith("_data_path"):
                yield from _texts(value)
    elif isinstance(config, list):
        for value in config:
            yield from _texts(value)


def _save_safetensors(state: Dict[str, Any], target: Path) -> None:
    from safetensors.torch import save_file

    # The format has no tensors that share memory.
    save_file(
        {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, str(target)
    )


def _cache() -> Path:
    chosen = os.environ.get(CACHE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "sledgehammer"
