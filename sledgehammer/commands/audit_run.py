"""Search for the texts that `allennlp audit` reports on, and measure what limits a slow-down."""

import copy
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
from allennlp.common import Tqdm

from sledgehammer.analysis import slowdown
from sledgehammer.analysis.slowdown import Candidate, Effort, Outcome, Search, Slowdown
from sledgehammer.analysis.slowdown_limits import Times, stream_at_budget, times
from sledgehammer.analysis.text_changes import Change, Texts
from sledgehammer.dataset_readers.base import Row
from sledgehammer.engine import Engine
from sledgehammer.engine.tokenizer import Text
from sledgehammer.export.eager import eager_engine
from sledgehammer.model.archives import Opened
from sledgehammer.model.exported import ExportedClassifier
from sledgehammer.support.jsonl import text_or_pair

IN_ALL = "in all"
"""What the slowest version of a row, of whichever kind, is called."""


def audited_engine(opened: Opened) -> Engine:
    """Return an engine that answers as the opened model does, by its policy as it is now."""
    model = opened.model
    exported = model.engine if isinstance(model, ExportedClassifier) else None
    engine = copy.copy(exported or eager_engine(opened))
    engine.policy = model.policy
    return engine


class Auditor:
    """Search for slow versions of rows, and sum up what was found.

    # Parameters

    engine : `Engine`
    rows : `Sequence[Row]`
    batch_size : `int`
    """

    def __init__(self, engine: Engine, rows: Sequence[Row], batch_size: int) -> None:
        self.engine = engine
        self._batch_size = batch_size
        texts = [tuple(row.texts) for row in rows]
        self.before = [Candidate(*pair) for pair in zip(texts, self._run(texts))]
        self.searches: Dict[str, List[Search]] = {}
        labels = [row.label for row in rows if row.label is not None]
        self.labels: Optional[List[str]] = labels if len(labels) == len(rows) else None

    def _run(self, rows: Sequence[Texts], **settings: Any) -> List[Outcome]:
        texts = [text_or_pair(list(row)) for row in rows]
        answers = self.engine.predict(texts, batch_size=self._batch_size, **settings)
        return [Outcome(a["layers_run"], a["label"], a["confidence"]) for a in answers]

    @property
    def exit_layers(self) -> List[int]:
        """Return the layers of the exits that the policy may reach."""
        cap = self.engine.policy.max_exit_layer
        layers = self.engine.manifest.exit_layers
        return layers if cap is None else [layer for layer in layers if layer <= cap]

    @property
    def deepest(self) -> int:
        """Return the layers that a text runs to the last of these exits."""
        return self.exit_layers[-1] + 1

    @property
    def slowest(self) -> List[Search]:
        """Return for each row the search of the kind that slowed it down most."""
        return self.searches[IN_ALL]

    def search(self, changes: Mapping[str, Change], effort: Effort, seed: int) -> None:
        """Search for the slowest version of each row, for each kind of changes and in all."""
        for kind, change in Tqdm.tqdm(changes.items(), "searching"):
            name = f"{seed} {kind}"
            self.searches[kind] = slowdown.search(
                self.before, self._run, change, effort, self.deepest, name
            )
        self.searches[IN_ALL] = slowdown.slowest_of(list(self.searches.values()))

    def report(self, effort: Effort) -> Dict[str, Any]:
        """Return all figures that are not of time."""
        manifest = self.engine.manifest
        return {
            "rows": len(self.before),
            "exit_layers": manifest.exit_layers,
            "full_layers": manifest.full_layers,
            "policy": self.engine.policy.config(),
            "queries": effort.queries,
            "changes": effort.changes,
            "slowdown": [self._slowdown(kind) for kind in self.searches],
            "limits": {"max_exit_layer": self._caps(), "budget": self._budget()},
            "layers": {
                "before": [one.outcome.layers for one in self.before],
                **{kind: layers_of(found) for kind, found in self.searches.items()},
            },
        }

    def _slowdown(self, kind: str) -> Slowdown:
        before = [one.outcome for one in self.before]
        return slowdown.slowdown(kind, before, self.searches[kind], self.deepest, self.labels)

    def _caps(self) -> List[Dict[str, Any]]:
        """Return what each cap below the deepest exit leaves, and what it does to the accuracy."""
        before = [one.outcome.layers for one in self.before]
        caps = []
        for layer in self.exit_layers[:-1]:
            held = slowdown.held_by_cap(before, layers_of(self.slowest), layer)._asdict()
            if self.labels is not None:
                for side, texts in self._versions().items():
                    outcomes = self._run(texts, max_exit_layer=layer)
                    held[f"accuracy_{side}"] = slowdown.accuracy(outcomes, self.labels)
            caps.append(held)
        return caps

    def _budget(self) -> Optional[Dict[str, Any]]:
        """Return what a budget of the mean layers before leaves; `None` if there can't be one."""
        budget = float(np.mean([one.outcome.layers for one in self.before]))
        held: Dict[str, Any] = {"budget": budget}
        for side, texts in self._versions().items():
            stream = stream_at_budget(self.engine, _as_texts(texts), budget, self.labels)
            if stream is None:
                return None
            held[f"mean_layers_{side}"] = stream.mean_layers
            if stream.accuracy is not None:
                held[f"accuracy_{side}"] = stream.accuracy
        held["mean_slowdown"] = slowdown.ratio(
            held["mean_layers_after"], held["mean_layers_before"]
        )
        return held

    def times(self, deadline_ms: Optional[float]) -> Dict[str, Times]:
        """Time the rows and their slowest versions, without and with a deadline.

        # Parameters

        deadline_ms : `float`, optional
            Milliseconds; if `None`, within which 95 % of the rows as they are were answered.
        """
        before, after = map(_as_texts, self._versions().values())
        free = times(self.engine, before, after)
        deadline = free.p95_ms_before if deadline_ms is None else deadline_ms
        held = times(self.engine, before, after, deadline / 1e3)
        return {"without a deadline": free, "with a deadline": held}

    def _versions(self) -> Dict[str, List[Texts]]:
        """Return all rows as they are, and their slowest versions."""
        return {
            "before": [one.texts for one in self.before],
            "after": [one.slowest.texts for one in self.slowest],
        }


def layers_of(searches: Sequence[Search]) -> List[int]:
    """Return the layers of the slowest version of each row."""
    return [one.slowest.outcome.layers for one in searches]


def _as_texts(rows: Sequence[Texts]) -> List[Text]:
    return [text_or_pair(list(row)) for row in rows]
