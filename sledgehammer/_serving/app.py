"""Put routes, models and workers together into an application."""

import asyncio
import functools
import logging
import signal
from contextlib import asynccontextmanager, suppress
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List, Tuple

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from sledgehammer._serving import classify, crew, inference_v2, streaming, text_embeddings
from sledgehammer._serving.access import Guard, Keys
from sledgehammer._serving.dispatcher import Dispatcher
from sledgehammer._serving.inputs import TIMEOUT, Service
from sledgehammer._serving.metrics import Collector, ModelTally, RequestTally
from sledgehammer._serving.models import Models
from sledgehammer._serving.options import Options
from sledgehammer._serving.pages import docs_page, home_page, openapi_document, page_part
from sledgehammer._serving.problems import Problem
from sledgehammer._serving.status import Status
from sledgehammer.monitoring.drift import ALPHA, STATISTICS
from sledgehammer.monitoring.martingale import level, log10

LOG = logging.getLogger("sledgehammer._serving")

Gauge = Tuple[str, str, Dict[str, float]]


class Server:
    """Hold a whole server but for the sockets.

    # Parameters

    options : `Options`

    # Raises

    `EngineError` if a model can't be opened; `OSError` if the file of keys can't be read.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._keys = Keys(options.access.key_file)
        # Each worker process tests the texts that it sees; all together err as rarely as one.
        alpha = ALPHA / (options.crew.size if options.crew else 1)
        self._alarm = log10(level(alpha, len(STATISTICS)))
        self.models = Models(
            options.directories, options.batching, options.settings, options.log, alpha
        )
        self.dispatcher = Dispatcher(options.batching.workers, options.limits.queue)
        self.service = Service(self.models, self.dispatcher, options.limits, options.timeout)
        requests = RequestTally()
        self._collector = Collector(requests, self._tallies, self._gauges, options.crew)
        self._status = Status(self.service, self._collector)
        self.app: ASGIApp = Guard(
            self._router(), self._keys, options.access.hosts, options.limits, requests
        )
        if options.access.origins:
            self.app = CORSMiddleware(
                self.app,
                options.access.origins,
                allow_methods=("GET", "POST"),
                allow_headers=("authorization", "content-type", "x-api-key", TIMEOUT),
                expose_headers=("retry-after",),
            )

    def _router(self) -> Router:
        # `partial` would hide the name, under which the route is counted.
        def bound(handler: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(handler)
            async def endpoint(request: Any) -> Any:
                return await handler(self.service, request)

            return endpoint

        post, status, v2 = ["POST"], self._status, inference_v2
        routes: List[Tuple[str, Callable[..., Any], List[str]]] = [
            ("/v1/classify", bound(classify.classify), post),
            ("/predict", bound(text_embeddings.predict), post),
            ("/v2/models/{name}/infer", bound(v2.infer), post),
            ("/v1/stream", bound(streaming.stream), post),
            *((path, handler, ["GET"]) for path, handler in (
                ("/", home_page), ("/page/{file}", page_part), ("/docs", docs_page), ("/openapi.json", openapi_document),
                ("/healthz", status.healthz), ("/readyz", status.readyz),
                ("/info", status.info), ("/metrics", status.metrics),
                ("/v2", bound(v2.server_metadata)),
                ("/v2/health/live", status.healthz), ("/v2/health/ready", status.readyz),
                ("/v2/models/{name}", bound(v2.model_metadata)),
                ("/v2/models/{name}/ready", bound(v2.model_ready)),
            )),
        ]  # fmt: skip
        # Clients of the protocol may name a version; there is one, "1".
        versioned = [
            (path.replace("{name}", "{name}/versions/1"), handler, methods)
            for path, handler, methods in routes
            if "{name}" in path
        ]
        return Router(
            [Route(path, handler, methods=m) for path, handler, m in [*routes, *versioned]],
            redirect_slashes=False,
            default=_not_found,
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
            loop.add_signal_handler(signal.SIGHUP, self._start_reload)
        tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._publish())]
        self._status.is_ready = True
        yield
        self._status.is_ready = False
        for task in tasks:
            task.cancel()
        await loop.run_in_executor(None, self.dispatcher.close)
        self._collector.publish()

    def _start_reload(self) -> None:
        # The loop itself holds tasks only weakly.
        self._reloading = asyncio.ensure_future(self.reload())

    async def reload(self) -> None:
        """Read models and keys anew, as on SIGHUP."""
        try:
            self._keys.read()
        except (OSError, ValueError) as error:
            LOG.warning("the old keys stay valid: %s", error)
        await asyncio.get_running_loop().run_in_executor(None, self.models.reload_all)

    async def _watch(self) -> None:
        while self._options.poll > 0:
            await asyncio.sleep(self._options.poll)
            await asyncio.get_running_loop().run_in_executor(None, self.models.look)

    async def _publish(self) -> None:
        while self._options.crew is not None:
            self._collector.publish()
            await asyncio.sleep(crew.SECONDS)

    def shut_down(self) -> None:
        """Say in `/readyz` that the server is about to end."""
        self._status.is_ready = False

    def _tallies(self) -> Dict[str, ModelTally]:
        return {model.name: model.tally for model in self.models.all()}

    def _gauges(self) -> Iterator[Gauge]:
        yield "workers", "Processes that answer.", {"": 1.0}
        waiting = self.dispatcher.counts(self.models.all())
        yield "queue_texts", "Texts that have not begun.", waiting
        unanswered = {"": float(self.dispatcher.unanswered)}
        yield "unanswered_texts", "Texts accepted and not answered, of all models.", unanswered
        yield "reloads", "How often the directory was opened anew.", self.models.reloads
        failed = self.models.failed_reloads
        yield "failed_reloads", "How often that failed.", failed
        yield from self._drift()

    def _drift(self) -> Iterator[Gauge]:
        """Yield the evidence that texts have changed, of the models that have a reference."""
        watched = {m.name: m.watcher.gauges() for m in self.models.all() if m.watcher is not None}
        for name in sorted({name for gauges in watched.values() for name in gauges}):
            meaning = (
                "Whether the texts have changed; stays 1."
                if name == "drift_alarm"
                else f"Logarithm of the evidence for a change; an alarm is at {self._alarm:.3g}."
            )
            yield (
                name,
                meaning,
                {m: gauges[name] for m, gauges in watched.items() if name in gauges},
            )


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    raise Problem(404, f"there is nothing at {scope['path']!r:.200}; see /docs")
