"""Count what the server does, cheaply, and tell it in Prometheus's format when asked.

The library's own counters take some microseconds each, and a text passes a dozen of them. Here
counting is adding to a list, and the library only writes the answer.
"""

from bisect import bisect_left
from collections import Counter
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from sledgehammer._serving.crew import Crew

SECONDS = (
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONFIDENCES = tuple(i / 20 for i in range(1, 21))

SUMMED = [
    f"sledgehammer_{name}"
    for name in ("workers", "queue_texts", "unanswered_texts", "reloads", "failed_reloads")
]
"""The gauges that are added up over worker processes; of others the highest value counts."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Count values by range.

    # Parameters

    bounds : `Sequence[float]`
        The upper ends of the ranges, included; one without an end follows.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def buckets(self) -> List[Tuple[str, float]]:
        """Return the cumulative counts, as Prometheus has them."""
        names = [*map(str, self.bounds), "+Inf"]
        made, count = [], 0
        for name, own in zip(names, self.counts):
            count += own
            made.append((name, float(count)))
        return made


class ModelTally:
    """Count what happens to the texts of one model. The caller holds a lock.

    # Parameters

    layers : `Sequence[int]`
        Those with an exit.
    labels : `Sequence[str]`
    """

    def __init__(self, layers: Sequence[int], labels: Sequence[str]) -> None:
        self.layers = layers
        self.labels = labels
        self.texts: Counter[Tuple[int, int]] = Counter()  # by exit and label
        self.events: Counter[str] = Counter()  # truncated, deadline, hurried, failed
        self.confidence = [Histogram(CONFIDENCES) for _ in layers]
        self.answering = Histogram(SECONDS)  # from a text's arrival to its answer
        self.queue, self.tokenising = Histogram(SECONDS), Histogram(SECONDS)
        self.segments = [Histogram(SECONDS) for _ in layers]
        self.batch_rows = Histogram(ROWS)

    def saw_answer(self, exit: int, label: int, confidence: float) -> None:
        """Count an answer."""
        self.texts[exit, label] += 1
        self.confidence[exit].add(confidence)

    def stages(self) -> Iterator[Tuple[str, Histogram]]:
        """Yield how long each stage of the work took."""
        yield "queue", self.queue
        yield "tokenise", self.tokenising
        for layer, histogram in zip(self.layers, self.segments):
            yield f"exit_{layer}", histogram


class RequestTally:
    """Count requests by route and status, and how long they took. Used by one thread."""

    def __init__(self) -> None:
        self.counts: Counter[Tuple[str, int]] = Counter()
        self.seconds: Dict[str, Histogram] = {}

    def saw(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.counts[route, status] += 1
        if route not in self.seconds:
            self.seconds[route] = Histogram(SECONDS)
        self.seconds[route].add(seconds)


Gauges = Callable[[], Iterable[Tuple[str, str, Dict[str, float]]]]
"""Returns names of gauges, what they mean, and their values by model."""


class Collector:
    """Give everything that was counted to the Prometheus library.

    # Parameters

    requests : `RequestTally`
    models : `Callable`
        Returns the tallies by the models' names.
    gauges : `Gauges`
    crew : `Crew`, optional
        Whose counts are added, if there are other worker processes.
    """

    def __init__(
        self,
        requests: RequestTally,
        models: Callable[[], Dict[str, ModelTally]],
        gauges: Gauges,
        crew: Optional[Crew] = None,
    ) -> None:
        self._crew = crew
        self._requests = requests
        self._models = models
        self._gauges = gauges

    def page(self) -> bytes:
        """Return what `/metrics` answers."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def publish(self) -> None:
        """Let the other worker processes know what this one has counted."""
        if self._crew is not None:
            self._crew.publish(self._own())

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, of all worker processes; called by the library."""
        own = self._own()
        return own if self._crew is None else self._crew.merged(own, SUMMED)

    def _own(self) -> Iterator[Metric]:
        yield from self._of_requests()
        yield from self._of_texts(self._models())
        yield from self._of_work(self._models())
        for name, meaning, values in self._gauges():
            gauge = GaugeMetricFamily(f"sledgehammer_{name}", meaning, labels=["model"])
            for model, value in values.items():
                gauge.add_metric([model], value)
            yield gauge

    def _of_requests(self) -> Iterator[Metric]:
        count = CounterMetricFamily(
            "sledgehammer_requests", "Requests answered.", labels=["route", "status"]
        )
        for (route, status), times in self._requests.counts.items():
            count.add_metric([route, str(status)], times)
        yield count
        seconds = HistogramMetricFamily(
            "sledgehammer_request_seconds", "Time from a request to its answer.", labels=["route"]
        )
        for route, histogram in self._requests.seconds.items():
            seconds.add_metric([route], histogram.buckets(), histogram.total)
        yield seconds

    def _of_texts(self, models: Dict[str, ModelTally]) -> Iterator[Metric]:
        texts = CounterMetricFamily(
            "sledgehammer_texts", "Texts answered.", labels=["model", "exit_layer", "label"]
        )
        events = CounterMetricFamily(
            "sledgehammer_events",
            "Texts truncated, cut short by a deadline, hurried to meet one, or failed.",
            labels=["model", "event"],
        )
        confidence: Any = HistogramMetricFamily(
            "sledgehammer_confidence",
            "Confidence of the answers of each exit.",
            labels=["model", "exit_layer"],
        )
        for name, tally in models.items():
            for (exit, label), times in list(tally.texts.items()):
                texts.add_metric([name, str(tally.layers[exit]), tally.labels[label]], times)
            for event, times in list(tally.events.items()):
                events.add_metric([name, event], times)
            for layer, histogram in zip(tally.layers, tally.confidence):
                confidence.add_metric([name, str(layer)], histogram.buckets(), histogram.total)
        yield from (texts, events, confidence, self._of_answering(models))

    def _of_answering(self, models: Dict[str, ModelTally]) -> Metric:
        seconds: Any = HistogramMetricFamily(
            "sledgehammer_text_seconds", "Time from a text to its answer.", labels=["model"]
        )
        for name, tally in models.items():
            seconds.add_metric([name], tally.answering.buckets(), tally.answering.total)
        return seconds

    def _of_work(self, models: Dict[str, ModelTally]) -> Iterator[Metric]:
        stages: Any = HistogramMetricFamily(
            "sledgehammer_stage_seconds",
            "Time that texts waited in the queue, and that tokenising and each segment took.",
            labels=["model", "stage"],
        )
        rows: Any = HistogramMetricFamily(
            "sledgehammer_batch_rows", "Texts that ran together.", labels=["model"]
        )
        for name, tally in models.items():
            for stage, histogram in tally.stages():
                stages.add_metric([name, stage], histogram.buckets(), histogram.total)
            rows.add_metric([name], tally.batch_rows.buckets(), tally.batch_rows.total)
        yield from (stages, rows)
