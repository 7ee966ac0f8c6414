"""Ray Serve applications: replicas of a server over one model each. A config file names `application`."""

import asyncio
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Tuple

from ray import serve
from starlette.types import ASGIApp

from sledgehammer._serving.app import Server
from sledgehammer._serving.options import Access, Batching, Options
from sledgehammer.engine import Engine, EngineError

_SERVERS: List[Server] = []
"""The server of this process: a replica has a process of its own."""


@dataclass(frozen=True)
class Scale:
    """Say what a model's application runs. These are the `args` of a config file.

    # Parameters

    name : `str`
        Of the model.
    directory : `str`
        An exported model, which each machine has at this path.
    settings : `Dict[str, float]`, optional
        The policy's settings for texts that have none of their own.
    threads : `int`
        Of a replica, for each of which it takes a core.
    replicas : `Tuple[int, int]`
        The fewest and the most.
    queue : `float`
        Requests, running and waiting, for each replica: with more of them there will be more replicas.
    batch_size : `int`
        The most calls by a handle that run together.
    batch_wait : `float`
        Seconds that a call by a handle waits for others.
    hosts : `List[str]`, optional
        See `Access`.
    """

    name: str
    directory: str
    settings: Dict[str, float] = field(default_factory=dict)
    threads: int = 1
    replicas: Tuple[int, int] = (1, 1)
    queue: float = 4.0
    batch_size: int = 32
    batch_wait: float = 0.01
    hosts: List[str] = field(default_factory=list)


class Replica:
    """Answer over HTTP as `sledgehammer serve` does, and other Ray programs by `classify`.

    # Parameters

    scale : `Scale`

    # Raises

    `EngineError` if the model can't be opened.
    """

    def __init__(self, scale: Scale) -> None:
        server = Server(
            Options(
                {scale.name: Path(scale.directory)},
                batching=Batching(threads=scale.threads),
                access=Access(hosts=scale.hosts),
                settings=scale.settings,
            )
        )
        _SERVERS[:] = [server]
        self._server = server
        self.classify.set_max_batch_size(scale.batch_size)
        self.classify.set_batch_wait_timeout_s(scale.batch_wait)

    @serve.batch
    async def classify(self, texts: List[Any]) -> List[Dict[str, Any]]:
        """Answer texts, or pairs; a call gives one and gets its answer, or an `error`.

        `await handle.classify.remote("A joy from start to end.")`
        """
        engine = self._server.models.get(None).engine
        return await asyncio.get_running_loop().run_in_executor(None, _answers, engine, texts)


def _answers(engine: Engine, texts: List[Any]) -> List[Dict[str, Any]]:
    answers: List[Dict[str, Any]] = [{} for _ in texts]
    good = []
    for number, text in enumerate(texts):
        try:
            engine.tokenizer.checked(text, 0)
            good.append(number)
        except EngineError as error:
            answers[number] = {"error": str(error)}
    for number, answer in zip(good, engine.predict([texts[number] for number in good])):
        answers[number] = answer
    return answers


def _app() -> ASGIApp:
    """Return what answers HTTP; Ray calls this in a replica, after its constructor."""
    return _SERVERS[0].app


def application(args: Dict[str, Any]) -> serve.Application:
    """Return the application of a model.

    # Parameters

    args : `Dict[str, Any]`
        The fields of a `Scale`.
    """
    scale = Scale(**{**args, "replicas": tuple(args.get("replicas", Scale.replicas))})
    fewest, most = scale.replicas
    deployment = serve.deployment(serve.ingress(_app)(Replica)).options(
        name=scale.name,
        autoscaling_config={
            "min_replicas": fewest,
            "max_replicas": most,
            "target_ongoing_requests": scale.queue,
        },
        # Each replica gathers what waits, so it may have more than what it is meant to have.
        max_ongoing_requests=max(64, int(4 * scale.queue)),
        ray_actor_options={"num_cpus": scale.threads},
    )
    return deployment.bind(scale)


def config(scales: List[Scale], host: str, port: int) -> Dict[str, Any]:
    """Return what `serve deploy` takes: an application a model, at the route of its name."""
    return {
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": scale.name,
                "route_prefix": f"/{scale.name}",
                "import_path": f"{__name__}:{application.__name__}",
                "args": {**asdict(scale), "replicas": list(scale.replicas)},
            }
            for scale in scales
        ],
    }
