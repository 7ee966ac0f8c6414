"""Take an exported model from the hub: only files that a model has, and only as they were written."""

from pathlib import Path

from sledgehammer.engine.manifest import MANIFEST, EngineError, read, read_manifest
from sledgehammer.engine.publishable import refused
from sledgehammer.support.hub import HubError, HubName, NoSuchFile, fetch


def engine_from_hub(name: str) -> Path:
    """Return the place of an exported model in the hub's cache, downloaded if need be.

    Nothing is downloaded but the manifest and the files that it lists, and no code is run.

    # Parameters

    name : `str`
        `hub:OWNER/NAME` or `hub:OWNER/NAME@REVISION`.

    # Raises

    `EngineError` if it can't be had, is no exported model, is damaged, or lists a file that no
    exported model has.
    """
    try:
        wanted = HubName.parse(name)
        try:
            manifest_file = fetch(wanted, MANIFEST)
        except NoSuchFile as error:
            raise EngineError(f"{wanted} is not an exported model: it has no {MANIFEST}") from error
        directory = manifest_file.parent
        files = read_manifest(directory).files
        if bad := refused(files, "engine"):
            raise EngineError(
                f"{wanted} lists {bad[0]}, which no exported model has: nothing more is downloaded"
            )
        # All of the commit that the manifest is of, even if somebody pushes meanwhile.
        commit = HubName(wanted.repo, directory.name)
        for file in files:
            fetch_listed(commit, file)
    except HubError as error:
        raise EngineError(str(error)) from error
    try:
        read(directory)
    except EngineError as error:
        raise EngineError(
            f"{wanted}: {error} (or remove the folder, to download it anew)"
        ) from error
    return directory


def fetch_listed(commit: HubName, file: str) -> Path:
    """Fetch a file that a model's manifest lists.

    # Raises

    `HubError` if it can't be had, or is not there.
    """
    try:
        return fetch(commit, file)
    except NoSuchFile as error:
        raise HubError(f"{commit} is incomplete: {file} is missing") from error
