"""Hold what the command line of `sledgehammer serve` says."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence

if TYPE_CHECKING:
    from sledgehammer._serving.crew import Crew

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """Say how much a client may ask for.

    # Parameters

    body : `int`
        Bytes of a request's body; of a stream, bytes of a line.
    texts : `int`
        Texts of a request.
    characters : `int`
        Characters of a text.
    queue : `int`
        Texts that have been accepted and have no answer yet, over all requests.
    body_seconds : `float`
        Seconds within which a whole body must arrive.
    """

    body: int = 4 << 20
    texts: int = 1024
    characters: int = 100_000
    queue: int = 4096
    body_seconds: float = 30.0


@dataclass(frozen=True)
class Batching:
    """Say how texts run together.

    # Parameters

    tokens : `int`
        Word pieces that run at a time, padding included.
    workers : `int`
        Batches that run at the same time, each in a thread.
    threads : `int`, optional
        Threads that share the work of one batch. If `None`, the cores are divided among the
        workers.
    pool : `bool`, optional
        Whether a few rows that go on after an exit wait for the texts in the queue to catch up.
        That depends on the runtime if `None`.
    """

    tokens: int = 4096
    workers: int = 1
    threads: Optional[int] = None
    pool: Optional[bool] = None


@dataclass(frozen=True)
class Access:
    """Say who may ask.

    # Parameters

    key_file : `Path`, optional
        A file with an API key a line. Without it nobody needs a key.
    origins : `Sequence[str]`, optional
        Origins of web pages whose scripts may ask, as in `https://example.org`, or `*`.
    hosts : `Sequence[str]`, optional
        Names by which clients may call the server; any if it is empty.
    """

    key_file: Optional[Path] = None
    origins: Sequence[str] = ()
    hosts: Sequence[str] = ()


@dataclass(frozen=True)
class Address:
    """Say where the server listens, and with which certificate."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Optional[Path] = None
    key: Optional[Path] = None


@dataclass(frozen=True)
class Options:
    """Hold all options of a server.

    # Parameters

    directories : `Dict[str, Path]`
        Exported models by name; the first one answers requests that name none.
    settings : `Dict[str, Any]`, optional
        The policy's settings for texts that have none of their own.
    timeout : `float`, optional
        Seconds after which a text is answered with what the last exit said.
    poll : `float`
        Seconds between two looks at the directories; 0 to look only on SIGHUP.
    crew : `Crew`, optional
        The worker processes, if there are several.
    log : `Path`, optional
        A file to which a JSON line is added for each text, with what the first exit said and
        without the text; `sledgehammer monitor` reads it.
    """

    directories: Dict[str, Path]
    address: Address = Address()
    limits: Limits = Limits()
    batching: Batching = Batching()
    access: Access = Access()
    settings: Dict[str, Any] = field(default_factory=dict)
    timeout: Optional[float] = None
    poll: float = 2.0
    log: Optional[Path] = None
    crew: "Optional[Crew]" = None
