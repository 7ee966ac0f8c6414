"""Download what a path names, without waiting long for a server that is not there."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

CONNECTION_RETRIES = 1
"""How often a failed connection is tried again; an answer with an error is retried more often.
AllenNLP tries a connection five times, which takes half a minute if a port is closed."""


def cached(path: str, extract_archive: bool = False) -> Path:
    """Return AllenNLP's `cached_path`: a file on this machine, or the local copy of a URL.

    # Raises

    `OSError` or `ValueError` if there is none.
    """
    from allennlp.common.file_utils import cached_path

    with _few_connection_retries():
        return Path(cached_path(path, extract_archive=extract_archive))


@contextmanager
def _few_connection_retries() -> Iterator[None]:
    """Let `cached_path` retry a failed connection only `CONNECTION_RETRIES` times in the block."""
    from cached_path.schemes import http

    session_with_backoff = http.session_with_backoff

    def impatient_session(*arguments: Any, **options: Any) -> Any:
        session = session_with_backoff(*arguments, **options)
        for adapter in session.adapters.values():
            adapter.max_retries = adapter.max_retries.new(connect=CONNECTION_RETRIES)
        return session

    http.session_with_backoff = impatient_session
    try:
        yield
    finally:
        http.session_with_backoff = session_with_backoff
