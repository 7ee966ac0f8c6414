"""Run `sledgehammer serve`: without AllenNLP and torch, unless an archive must be exported first."""

import argparse
import contextlib
import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Sequence

from sledgehammer._serving.options import LOOPBACK, Access, Address, Batching, Limits, Options
from sledgehammer.engine.manifest import EngineError, is_engine
from sledgehammer.engine.options import add_settings, settings_of
from sledgehammer.support.arguments import positive_float, positive_int
from sledgehammer.support.owned import scratch_folder
from sledgehammer.support.usage import UsageError, UsageParser, print_usage_error, seconds

PROG = "sledgehammer serve"

DESCRIPTION = """\
Serve exported models over HTTP: POST /v1/classify (as vLLM), /predict (as Text Embeddings
Inference), /v2/models/NAME/infer (Open Inference Protocol), /v1/stream (JSON lines); GET / is a page
to try them, /docs describes all routes, /metrics is for Prometheus.

A model is named after its directory, or NAME=DIR. The first one answers requests that name none. A
directory that is replaced is opened anew, without dropping a request; so are all on SIGHUP. An
archive is exported first, which needs AllenNLP and torch."""

EXAMPLE = """\
example:
  sledgehammer serve out/sst_int8
  sledgehammer serve reviews=out/sst_int8 topics=out/ag_int8 --port 8080 --threshold 0.9
  curl localhost:8000/v1/classify -d '{"input": "A joy from start to end."}'

exit codes:
  0  ended by a signal, after what was accepted had been answered
  1  a model can't be opened, the port is taken, or another error
  2  wrong command line"""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def main(arguments: Sequence[str]) -> int:
    """Run `sledgehammer serve ARGUMENTS` until a signal comes, and return the exit code."""
    try:
        parsed = _parser().parse_args(list(arguments))
        directories = _directories(parsed.models)
        settings = settings_of(parsed)
        access = _access(parsed)
    except UsageError as error:
        return print_usage_error(PROG, error)
    with contextlib.ExitStack() as stack:
        try:
            from sledgehammer._serving.server import bind, listen

            # First of all, as it is quick.
            address = Address(parsed.host, parsed.port, parsed.tls_cert, parsed.tls_key)
            listener = stack.enter_context(bind(address))
            directories = {
                name: path if is_engine(path) else _exported(path, stack)
                for name, path in directories.items()
            }
            options = _options(parsed, directories, address, access, settings)
            if parsed.workers == 1:
                listen(options, listener)
            elif not _supervised(options, parsed.workers, listener, stack):
                return 1
        except ModuleNotFoundError as error:
            missing = f"serving needs {error.name}: pip install 'allennlp-sledgehammer[serve]'"
            print(f"{PROG}: error: {missing}", file=sys.stderr)
            return 1
        except OSError as error:
            place = error.filename or f"{parsed.host}:{parsed.port}"
            print(f"{PROG}: error: {place}: {error.strerror or error}", file=sys.stderr)
            return 1
        except EngineError as error:
            print(f"{PROG}: error: {error}", file=sys.stderr)
            return 1
    return 0


LONGEST_POLL = 1e9
"""30 years: clocks of operating systems wait no longer than some centuries."""


def _parser() -> UsageParser:
    parser = UsageParser(PROG, DESCRIPTION, EXAMPLE)
    parser.add_argument("models", nargs="+", metavar="[NAME=]DIR", help="an exported model")
    add_settings(parser, "for texts without their own")
    parser.add_argument(
        "--poll", type=seconds, default=2.0, metavar="SECONDS",
        help="how often to look whether a directory was replaced; 0: only on SIGHUP (default: 2)",
    )  # fmt: skip
    parser.add_argument(
        "--log", type=Path, metavar="FILE",
        help="add a line for each text: what the first exit said, never the text; `sledgehammer "
        "monitor` reads it",
    )  # fmt: skip
    parser.add_argument("--verbose", action="store_true", help="also show what libraries print")
    _add_address(parser.add_argument_group("address and access"))
    _add_batching(parser.add_argument_group("batching"))
    _add_limits(parser.add_argument_group("limits"))
    return parser


def _add_address(group: Any) -> None:
    group.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    group.add_argument("--port", type=_port, default=8000, help="0 is any free one (default: 8000)")
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM)")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key (PEM)")
    group.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="clients need a key of this file, one a line",
    )
    group.add_argument(
        "--allow-origin", action="append", default=[], metavar="ORIGIN",
        help="let scripts of web pages from there ask (CORS; repeatable)",
    )  # fmt: skip
    group.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="names by which clients may call the server (repeatable; default: any, or only "
        "those of this machine if it listens there only)",
    )  # fmt: skip


def _add_batching(group: Any) -> None:
    group.add_argument(
        "--max-batch-tokens", type=positive_int, default=Batching.tokens, metavar="N",
        help="word pieces that run together, padding included (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--workers", type=positive_int, default=1, metavar="N",
        help="processes that share the port, each with the models and a queue of its own; for "
        "machines of so many cores that one process can't read requests fast enough (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--parallel", type=positive_int, default=1, metavar="N",
        help="batches that run at the same time (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--threads", type=positive_int, metavar="N",
        help="threads of each batch (default: the usable cores, divided by --workers and --parallel)",
    )  # fmt: skip
    group.add_argument(
        "--pool", action=argparse.BooleanOptionalAction,
        help="let a few texts that go on after an exit wait for others (default: whatever is faster)",
    )  # fmt: skip


def _add_limits(group: Any) -> None:
    group.add_argument(
        "--timeout", type=positive_float, metavar="SECONDS",
        help="after so long a text gets what the last exit said (default: no limit; a request may "
        "have its own in the header X-Timeout-Ms)",
    )  # fmt: skip
    for option, default, meaning in (
        ("--max-queue", Limits.queue, "texts that may wait; beyond it clients get 429"),
        ("--max-texts", Limits.texts, "texts of a request"),
        ("--max-characters", Limits.characters, "characters of a text"),
        ("--max-body", Limits.body, "bytes of a request's body, or of a line of a stream"),
    ):
        group.add_argument(
            option, type=positive_int, default=default, metavar="N",
            help=f"{meaning} (default: {default})",
        )  # fmt: skip


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError(f"must be between 0 and 65535, got {text}")
    return value


def _directories(models: Sequence[str]) -> Dict[str, Path]:
    """Return the directories by name."""
    found: Dict[str, Path] = {}
    for model in models:
        name, separator, directory = model.partition("=")
        if not separator or Path(model).exists():
            directory, name = model, Path(model).resolve().name.removesuffix(".tar.gz")
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} can't be the name of a model: use letters, digits, dots, dashes and "
                f"underscores, as in reviews={directory}"
            )
        if name in found:
            raise UsageError(f"two models are called {name!r}: name them, as in other={directory}")
        found[name] = Path(directory)
    return found


def _access(parsed: argparse.Namespace) -> Access:
    if (parsed.tls_cert is None) != (parsed.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together")
    hosts = hosts_for(parsed.host, parsed.allow_host)
    return Access(parsed.api_key_file, tuple(parsed.allow_origin), tuple(hosts))


def hosts_for(host: str, allowed: Sequence[str]) -> Sequence[str]:
    """Return the names by which clients may call a server that listens at `host`."""
    if not allowed and host in LOOPBACK:
        # Otherwise any web page could ask, by giving its own name this machine's address.
        return [*LOOPBACK, "[::1]"]
    return allowed


def _options(
    parsed: argparse.Namespace,
    directories: Dict[str, Path],
    address: Address,
    access: Access,
    settings: Dict[str, Any],
) -> Options:
    return Options(
        directories,
        address,
        Limits(parsed.max_body, parsed.max_texts, parsed.max_characters, parsed.max_queue),
        Batching(parsed.max_batch_tokens, parsed.parallel, parsed.threads, parsed.pool),
        access,
        settings,
        parsed.timeout,
        min(parsed.poll, LONGEST_POLL),
        parsed.log,
    )


def _supervised(options: Options, workers: int, listener: Any, stack: contextlib.ExitStack) -> bool:
    """Serve from several processes; return whether all could be started."""
    from sledgehammer._serving.crew import Crew
    from sledgehammer._serving.supervisor import Supervisor
    from sledgehammer.engine.runtimes import usable_cores

    batching = options.batching
    cores = max(1, usable_cores() // (workers * batching.workers))
    batching = dataclasses.replace(batching, threads=batching.threads or cores)
    crew = Crew(stack.enter_context(scratch_folder()), workers)
    options = dataclasses.replace(options, batching=batching, crew=crew)
    return Supervisor(options, listener).run()


def _exported(archive: Path, stack: contextlib.ExitStack) -> Path:
    """Export an archive into a temporary directory, in a process of its own.

    # Raises

    `EngineError` if that fails.
    """
    if not archive.exists():
        raise EngineError(f"there is no {archive}: give a directory that `export` wrote")
    print(f"exporting {archive}, which takes a while; `sledgehammer export` does it once and for all",
          file=sys.stderr, flush=True)  # fmt: skip
    directory = stack.enter_context(scratch_folder()) / "engine"
    command = [sys.executable, "-m", "sledgehammer", "export", str(archive), str(directory)]
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise EngineError(f"{archive} is not an exported model, and can't be exported")
    return directory
