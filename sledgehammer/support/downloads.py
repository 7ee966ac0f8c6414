"""Downloading what a path names, without waiting for a server that is not there."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

CONNECTS = 1
"""How often a connection that failed is tried again; what a server answers may be asked for more
often. AllenNLP tries five times, which takes half a minute where a port is closed."""


def cached(path: str, extract_archive: bool = False) -> Path:
    """Return AllenNLP's `cached_path`: a file here, or the local copy of what a URL names.

    # Raises

    `OSError` or `ValueError` if there is none.
    """
    from allennlp.common.file_utils import cached_path

    with _impatient():
        return Path(cached_path(path, extract_archive=extract_archive))


@contextmanager
def _impatient() -> Iterator[None]:
    """Let sessions of `cached_path` try a connection `CONNECTS` times more, within the block."""
    from cached_path.schemes import http

    patient = http.session_with_backoff

    def session(*arguments: Any, **options: Any) -> Any:
        made = patient(*arguments, **options)
        for adapter in made.adapters.values():
            adapter.max_retries = adapter.max_retries.new(connect=CONNECTS)
        return made

    http.session_with_backoff = session
    try:
        yield
    finally:
        http.session_with_backoff = patient
