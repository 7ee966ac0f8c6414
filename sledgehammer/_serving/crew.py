"""Let several worker processes answer `/metrics` as one.

Each writes what it has counted into a file of a folder that they share, some times a second; whoever
is asked adds up all files. The file of a worker that died stays, so that no count ever falls, which
Prometheus would take for a restart of the whole.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Tuple

import msgspec
from prometheus_client.core import Metric

RETIRED = "retired-"
"""How the names of the files of workers begin that have ended."""

SECONDS = 0.25
"""How often a worker writes its file."""

Samples = Dict[Tuple[str, Tuple[Tuple[str, str], ...]], float]
"""Values by a sample's name and labels."""


@dataclass(frozen=True)
class Crew:
    """Tell a worker process which one it is.

    # Parameters

    folder : `Path`
        Shared by all workers.
    size : `int`
        How many workers there are.
    number : `int`, optional
        Which of them this one is; counted from 0.
    """

    folder: Path
    size: int
    number: int = 0

    @property
    def _file(self) -> Path:
        return self.folder / f"worker-{self.number}"

    def publish(self, metrics: Iterable[Metric]) -> None:
        """Write what this worker has counted, for the others."""
        partial = self._file.with_suffix(".part")
        partial.write_bytes(msgspec.json.encode([_plain(metric) for metric in metrics]))
        os.replace(partial, self._file)

    def retire(self, life: int) -> None:
        """Keep what this worker had counted when it ended.

        # Parameters

        life : `int`
            Another one for each worker that ends.
        """
        with suppress(FileNotFoundError):  # it ended before it could write anything
            self._file.rename(self.folder / f"{RETIRED}{life}")

    def merged(self, metrics: Iterable[Metric], summed: Iterable[str]) -> Iterator[Metric]:
        """Yield this worker's metrics, with those of the others added.

        # Parameters

        summed : `Iterable[str]`
            The gauges whose values are added up; of others the highest counts.
        """
        added = frozenset(summed)
        known: Dict[str, Tuple[Metric, Samples]] = {}
        for family in [*map(_plain, metrics), *self._of_others()]:
            name, kind, meaning, samples = family
            _, values = known.setdefault(name, (Metric(name, meaning, kind), {}))
            adds = kind != "gauge" or name in added
            for sample, labels, value in samples:
                key = sample, tuple((k, v) for k, v in labels)
                old = values.get(key)
                values[key] = value if old is None else old + value if adds else max(old, value)
        for metric, values in known.values():
            for (sample, labels), value in values.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric

    def _of_others(self) -> Iterator[Any]:
        for file in sorted(self.folder.iterdir()):
            if file == self._file or file.suffix == ".part":
                continue
            with suppress(FileNotFoundError):  # retired just now
                families: List[Any] = msgspec.json.decode(file.read_bytes())
                is_alive = not file.name.startswith(RETIRED)
                yield from (f for f in families if is_alive or f[1] != "gauge")


def _plain(metric: Metric) -> Any:
    """Return a metric as JSON can hold it."""
    samples = [(s.name, list(s.labels.items()), s.value) for s in metric.samples]
    return metric.name, metric.type, metric.documentation, samples
