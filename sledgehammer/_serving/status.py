"""Tell how the server is, and what it serves."""

from typing import Any, Dict, List, Optional

from starlette.requests import Request
from starlette.responses import Response

from sledgehammer import __version__
from sledgehammer._serving.encoding import json_response
from sledgehammer._serving.inputs import Service
from sledgehammer._serving.metrics import CONTENT_TYPE, Collector
from sledgehammer._serving.models import ServedModel
from sledgehammer._serving.problems import Problem
from sledgehammer.policies import ExitPolicy


class Status:
    """Answer the routes about the server itself.

    # Parameters

    service : `Service`
    collector : `Collector`
    """

    def __init__(self, service: Service, collector: Collector) -> None:
        self._service = service
        self._collector = collector
        self.is_ready = False

    async def healthz(self, request: Request) -> Response:
        """Answer 200 as long as the process can answer."""
        return Response(b"ok\n", media_type="text/plain")

    async def readyz(self, request: Request) -> Response:
        """Answer 200 if new requests are welcome, 503 while the server shuts down."""
        if not self.is_ready:
            raise Problem(503, "the server is starting or shutting down")
        return Response(b"ready\n", media_type="text/plain")

    async def metrics(self, request: Request) -> Response:
        """Answer with all metrics in Prometheus's text format."""
        return Response(self._collector.page(), headers={"content-type": CONTENT_TYPE})

    async def info(self, request: Request) -> Response:
        """Answer with the models, their settings, and the limits."""
        limits = self._service.limits
        content = {
            "version": __version__,
            "models": [described(model) for model in self._service.models.all()],
            "limits": {
                "body_bytes": limits.body, "texts": limits.texts, "characters": limits.characters,
                "queue": limits.queue,
            },
            "timeout": self._service.timeout,
        }  # fmt: skip
        return json_response(content)


def expected_layers(model: ServedModel) -> List[List[float]]:
    """Return the curve of a model whose threshold is swept: pairs of a threshold and the mean number
    of layers that labelled rows, or else its calibration data, ran at it; empty if that is not
    known."""
    manifest = model.engine.manifest
    if model.engine.policy.sweeps != "threshold":
        return []
    curve = measured_curve(model)
    if curve is not None and curve["sweeps"] == "threshold":
        return [[point["setting"], point["mean_layers"]] for point in curve["points"]]
    layers = [layer + 1 for layer in manifest.exit_layers]
    return [
        [row[0], sum(share * count for share, count in zip(row[1:], layers))]
        for row in manifest.exit_shares
        if any(row[1:])
    ]


def measured_curve(model: ServedModel) -> Optional[Dict[str, Any]]:
    """Return what the directory's curve says, if it has one that is still true.

    The name of its data is left out: it may be a path of the machine on which it was measured.
    """
    curve, engine = model.curve, model.engine
    if curve is None or not curve.holds(engine.manifest.conditions()):
        return None
    return {
        "rows": curve.rows,
        "sweeps": curve.sweeps,
        "points": curve.points,
        "default": curve.default,
    }


def _value_of(policy: ExitPolicy, name: str) -> Dict[str, Any]:
    """Return the value of a setting; if labels have values of their own, theirs too."""
    value = getattr(policy, name)
    if not isinstance(value, dict):
        return {"value": value}
    return {"value": policy.swept, "by_label": value}


def described(model: ServedModel) -> Dict[str, Any]:
    """Return what `/info` says of a model."""
    engine = model.engine
    manifest, policy = engine.manifest, engine.policy
    return {
        "name": model.name,
        "labels": manifest.labels,
        "fields": manifest.fields,
        "exit_layers": manifest.exit_layers,
        "full_layers": manifest.full_layers,
        "runtime": manifest.runtime,
        "precision": manifest.precision,
        "max_length": manifest.max_length,
        "policy": policy.name,
        "sweeps": policy.sweeps,
        "settings": {
            name: {
                **_value_of(policy, name),
                "low": setting.low,
                "high": setting.high if setting.high < float("inf") else None,
                "whole": setting.whole,
            }
            for name, setting in policy.settings.items()
        },
        "expected_layers": expected_layers(model),
        "curve": measured_curve(model),
        "warning": engine.choice_problem(policy),
    }
