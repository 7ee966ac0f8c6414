"""Fixtures that start servers and end them. They import what a server needs only when used."""

from typing import Any, Callable, Iterator, List

import pytest


@pytest.fixture
def local() -> Iterator[Callable[..., Any]]:
    """Start servers in this process; see `servers.Local`."""
    from sledgehammer._serving.app import Server
    from sledgehammer._serving.options import Batching, Options
    from tests.serving.servers import ENGINE, Local, Segments

    started: List[Local] = []

    def start(**options: Any) -> Local:
        batching = Batching(threads=1)
        options = {"directories": {"tiny": ENGINE}, "batching": batching, **options}
        server = Server(Options(**options))
        model = server.models.get(None)
        model.engine.segments = segments = Segments(model.engine.segments)
        started.append(Local(server, segments))
        return started[-1]

    yield start
    for one in started:
        one.segments.gate.set()
        one.server.dispatcher.close()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Any]]:
    """Run `sledgehammer serve`; the processes are ended after the module's tests."""
    from tests.serving.servers import Remote, end, run_server

    started: List[Remote] = []

    def start(*arguments: object) -> Remote:
        started.append(run_server(*arguments))
        return started[-1]

    yield start
    for remote in started:
        end(remote.process)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium, shared by the tests of a module: starting one takes seconds."""
    from tests.conftest import chromium_with

    with chromium_with(tmp_path_factory.mktemp("chromium") / "profile") as window:
        yield window


@pytest.fixture
def browser(chromium: Any) -> Any:
    """The same, with an empty log and as it was before the test before."""
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.get("about:blank")
    chromium.get_log("browser")
    return chromium


@pytest.fixture(scope="module")
def remote(serve: Callable[..., Any]) -> Any:
    """A server over the tiny engine, shared by the tests of a module; see `servers.Remote`."""
    from tests.serving.servers import ENGINE

    return serve(f"tiny={ENGINE}")
