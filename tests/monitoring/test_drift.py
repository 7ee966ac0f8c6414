"""The reference of a model, and the monitor over several statistics."""

import json
from pathlib import Path
from typing import Any, Tuple

import numpy as np
import pytest

from sledgehammer.monitoring.drift import DriftMonitor
from sledgehammer.monitoring.reference import REFERENCE, Reference, length_bin


def rows(
    rng: np.random.Generator, count: int, a: float = 6, share: float = 0.5, length: float = 3.0
) -> Tuple[Any, Any, Any]:
    confidence = 0.5 + rng.beta(a, 3, count) / 2
    return confidence, rng.random(count) < share, np.exp(rng.normal(length, 0.4, count)).astype(int)


def reference(count: int = 1500) -> Reference:
    confidence, labels, lengths = rows(np.random.default_rng(5), count)
    return Reference.of(confidence, labels.astype(int), 2, lengths)


@pytest.mark.parametrize(
    "change, noticed",
    [
        ({}, set()),
        ({"a": 2.0}, {"confidence"}),
        ({"share": 0.75}, {"label"}),
        ({"length": 3.4}, {"length"}),
    ],
)
def test_what_has_changed_is_named(change: Any, noticed: Any) -> None:
    monitor = DriftMonitor(reference())
    rng = np.random.default_rng(6)
    for part in (rows(rng, 300), rows(rng, 700, **change)):
        for confidence, label, length in zip(*(column.tolist() for column in part)):
            monitor.see(confidence, int(label), length)
    assert set(monitor.raised) == noticed
    assert all(300 < at <= 800 for at in monitor.raised.values()), "within 500 texts"
    assert ("no change" in monitor.report()) == (not noticed)
    assert all(name in monitor.report() for name in noticed)


def test_it_is_written_and_read(tmp_path: Path) -> None:
    assert Reference.load(tmp_path) is None, "directories of older versions have none"
    reference().save(tmp_path)
    assert Reference.load(tmp_path) == reference()
    content = json.loads((tmp_path / REFERENCE).read_text())
    for name, value in (("rows", 3), ("confidence", "x"), ("labels", [-1, 1501]), ("other", 1)):
        (tmp_path / REFERENCE).write_text(json.dumps({**content, name: value}))
        with pytest.raises(ValueError, match=f"{REFERENCE} is damaged"):
            Reference.load(tmp_path)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 50 rows, got 49"):
        reference(49)


def test_lengths_of_all_sizes_have_a_bin() -> None:
    bins = [length_bin(n) for n in (0, 1, 2, 8, 512, 8192, 10**6)]
    assert bins == sorted(bins) and bins[-1] <= 60
