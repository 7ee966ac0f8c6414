"""What a measurement reports; how long it took is nobody's business here."""

import pytest

from sledgehammer.benchmark.settings_timing import measure
from sledgehammer.dataset_readers import SstReader
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.multi_exit import MultiExitClassifier
from tests.tiny_training import DEV


@pytest.mark.parametrize("batch_size", [1, 2])
def test_measured_points(
    model: MultiExitClassifier, sst_reader: SstReader, batch_size: int
) -> None:
    rows = read_rows(sst_reader, DEV)
    found = measure(model, sst_reader, rows, [0.0, 1.0], batch_size, rounds=3)
    first, full = found.points
    assert (first.mean_layers, first.layer_speedup) == (1.0, 4.0)
    assert (full.mean_layers, full.layer_speedup, full.speedup) == (4.0, 1.0, 1.0)
    assert first.milliseconds > 0
    low, high = first.speedup_quartiles
    assert low <= first.speedup <= high
    assert (found.rows, found.batch_size, found.rounds, found.device) == (5, batch_size, 3, "CPU")
    assert model.policy.threshold == 0.9, "as it was before"
