"""Run `sledgehammer deploy`: exported models as Ray Serve applications."""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, Iterator, List, Sequence

from sledgehammer._serving.cli import _directories, _port, hosts_for
from sledgehammer.engine import manifest
from sledgehammer.engine.engine import changed, policy_of
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.options import add_settings, settings_of
from sledgehammer.engine.running import exits_of
from sledgehammer.support.arguments import positive_float, positive_int
from sledgehammer.support.files import replacing
from sledgehammer.support.usage import UsageError, UsageParser, print_usage_error, seconds

PROG = "sledgehammer deploy"

LOCAL = "local"

DESCRIPTION = """\
Serve exported models on a Ray cluster: an application for each, at the route /NAME, with the HTTP
interface of `sledgehammer serve` (POST /NAME/v1/classify, ...). Each has as many replicas as its queue
asks for. Other Ray programs call serve.get_app_handle(NAME).classify.remote(TEXT); these calls are
answered in batches.

It serves until a signal comes. To leave the models with a cluster, write a config file and give it to
`serve deploy`. All machines need this package, and each DIR at the same path."""

EXAMPLE = """\
example:
  sledgehammer deploy reviews=out/sst_int8 topics=out/ag_int8 --ray auto --max-replicas 8
  sledgehammer deploy reviews=out/sst_int8 --write-config serve.yaml && serve deploy serve.yaml

exit codes:
  0  ended by a signal, or the config file was written
  1  a model can't be opened, there is no such cluster, or another error
  2  wrong command line"""


def main(arguments: Sequence[str]) -> int:
    """Run `sledgehammer deploy ARGUMENTS`, and return the exit code."""
    try:
        parsed = _parser().parse_args(list(arguments))
        directories = _directories(parsed.models)
        settings = settings_of(parsed)
        if parsed.max_replicas < parsed.min_replicas:
            raise UsageError("--max-replicas must be at least --min-replicas")
    except UsageError as error:
        return print_usage_error(PROG, error)
    try:
        for directory in directories.values():
            engine = manifest.read(directory)
            changed(policy_of(engine, exits_of(engine)), settings)
        return _deploy(parsed, directories, settings)
    except ModuleNotFoundError as error:
        missing = f"it needs {error.name}: pip install 'allennlp-sledgehammer[ray]'"
        print(f"{PROG}: error: {missing}", file=sys.stderr)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"{PROG}: error: {message}", file=sys.stderr)
    except EngineError as error:
        print(f"{PROG}: error: {error}", file=sys.stderr)
    return 1


def _parser() -> UsageParser:
    parser = UsageParser(PROG, DESCRIPTION, EXAMPLE)
    parser.add_argument("models", nargs="+", metavar="[NAME=]DIR", help="an exported model")
    parser.add_argument(
        "--ray", default=LOCAL, metavar="ADDRESS",
        help="of a cluster; auto to find it, or local to start one here (default)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    parser.add_argument("--port", type=_port, default=8000, help="default: 8000")
    add_settings(parser, "for texts without their own")
    for option, default, meaning in (
        ("--min-replicas", 1, "the fewest replicas of a model"),
        ("--max-replicas", 4, "the most"),
        ("--threads", 1, "of a replica, each on a core of its own"),
        ("--batch-size", 32, "calls by a handle that run together at most"),
    ):
        parser.add_argument(
            option, type=positive_int, default=default, metavar="N",
            help=f"{meaning} (default: {default})",
        )  # fmt: skip
    parser.add_argument(
        "--queue", type=positive_float, default=4.0, metavar="N",
        help="requests for each replica, above which there will be more (default: 4)",
    )  # fmt: skip
    parser.add_argument(
        "--batch-wait", type=seconds, default=0.01, metavar="SECONDS",
        help="that a call by a handle waits for others (default: 0.01)",
    )  # fmt: skip
    parser.add_argument(
        "--write-config", type=Path, metavar="FILE", help="for `serve deploy`; nothing is served"
    )
    parser.add_argument("--verbose", action="store_true", help="also show what libraries print")
    return parser


def _deploy(parsed: argparse.Namespace, directories: Any, settings: Any) -> int:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change
    from sledgehammer._serving.replicas import Scale, config

    scales = [
        Scale(
            name, str(path.resolve()), settings, parsed.threads,
            (parsed.min_replicas, parsed.max_replicas), parsed.queue, parsed.batch_size,
            parsed.batch_wait, list(hosts_for(parsed.host, [])),
        )
        for name, path in directories.items()
    ]  # fmt: skip
    if parsed.write_config:
        with replacing(parsed.write_config) as path:  # JSON is YAML, too
            content = config(scales, parsed.host, parsed.port)
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return 0
    with _connected(parsed), contextlib.suppress(_Ended):
        _run(scales, parsed.host, parsed.port)
        _wait()
    return 0


class _Ended(BaseException):
    """Tell that a signal came."""


def _run(scales: List[Any], host: str, port: int) -> None:
    from dataclasses import asdict

    from ray import serve

    from sledgehammer._serving.replicas import application

    for scale in scales:
        serve.run(application(asdict(scale)), name=scale.name, route_prefix=f"/{scale.name}")
        print(f"serving {scale.name} on http://{host}:{port}/{scale.name}", file=sys.stderr)
    sys.stderr.flush()


def _wait() -> None:
    """Wait for a signal."""

    def end(number: int, frame: Any) -> None:
        raise _Ended

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    while True:
        signal.pause()


@contextlib.contextmanager
def _connected(parsed: argparse.Namespace) -> Iterator[None]:
    """Connect to a cluster, or start one; end all that was deployed at the end of the block."""
    import ray
    from ray import serve

    options = {"log_to_driver": parsed.verbose, "logging_level": logging.ERROR}
    if parsed.ray == LOCAL:
        options["include_dashboard"] = False
    try:
        ray.init(parsed.ray, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EngineError(f"no Ray cluster at {parsed.ray!r}: {reason}") from error
    try:
        serve.start(
            http_options={"host": parsed.host, "port": parsed.port},
            logging_config={"log_level": "WARNING"},
        )
        yield
    except RuntimeError as error:
        raise EngineError(str(error).strip().splitlines()[-1]) from error
    finally:
        serve.shutdown()
        ray.shutdown()
