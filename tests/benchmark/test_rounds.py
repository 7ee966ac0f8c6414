"""The processes of the contenders; not their speeds."""

from pathlib import Path

import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.benchmark.contenders import Contender
from sledgehammer.benchmark.rounds import Workload, time_contenders
from sledgehammer.export.directory import Format, export
from sledgehammer.model.archives import open_archive

pytest.importorskip("onnx", reason="exports are not installed with the stock stack")
pytest.importorskip("onnxruntime")
ROWS = [["Fine."], ["A long and winding tale of nothing at all."], ["Bad."]]


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_every_kind_takes_its_turn(tiny_archive: Path, tmp_path: Path, runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    archive = str(tiny_archive)
    export(archive, open_archive(archive), Format(runtime, "fp32"), tmp_path)
    contenders = [
        Contender("engine", "engine", str(tmp_path), setting=0.5),
        Contender("archive", "archive", archive, setting=0.5),
        Contender("full", "transformers", archive),
        Contender("cut", "transformers", archive, dtype="bfloat16", exit=0),
    ]
    exits = {"engine": [0, 2, 1], "archive": [0, 2, 1]}
    workload = Workload(ROWS, {**exits}, batch_sizes=[1, 2], rounds=2)
    results, profiles = time_contenders(contenders, 1, workload)
    assert [(r.contender, r.batch_size) for r in results] == [
        (c.name, size) for size in (1, 2) for c in contenders
    ]
    for result in results:
        assert 0 < result.p50 <= result.p95 <= result.p99
        assert result.tokenise < result.mean < 10 * result.p99
        assert result.throughput > 0
        assert len(result.latency_ratios) == len(result.throughput_ratios) == 3
    assert set(profiles) == {"engine"}
    assert len(profiles["engine"]["segments"]) == len(profiles["engine"]["heads"]) == 3
    assert all(0 < share < 1 for share in profiles["engine"]["heads"])


def test_a_contender_that_fails_is_named(tmp_path: Path) -> None:
    broken = Contender("mine", "engine", str(tmp_path))
    with pytest.raises(ConfigurationError, match="mine: EngineError: .*is not an exported model"):
        time_contenders([broken], 1, Workload(ROWS, {}, [1], 1))
