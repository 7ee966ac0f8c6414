"""The wheel alone, in an empty environment, runs an exported model: no AllenNLP, no torch."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from sledgehammer import __version__
from tests.conftest import ROOT

NEEDS = ["numpy", "tokenizers", "onnxruntime"]
"""What a server with exported models needs, as the manual says."""

UNREACHABLE = ("No matching distribution", "Could not find a version", "Connection", "Network")


def run(*command: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` writes, from a copy of what is under version control."""
    if importlib.util.find_spec("build") is None:
        pytest.skip("needs the package `build`, which the stock stack lacks")
    source = tmp_path_factory.mktemp("source")
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    if files.returncode != 0:
        pytest.skip("not a git checkout")
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    built = run(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", source / "dist", cwd=source
    )
    assert built.returncode == 0, built.stderr[-3000:]
    return source / "dist"


def test_sdist_has_what_the_tests_need(distribution: Path) -> None:
    (sdist,) = distribution.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {
        "LICENSE", "CHANGELOG.md", "constraints.txt", "docs/index.md", "training_config/sst.jsonnet",
        "fixtures/sst/train.txt", "tests/test_distribution.py", "sledgehammer/py.typed",
    } <= names  # fmt: skip


def test_wheel_alone_runs_an_engine(distribution: Path, tiny_engine: Path, tmp_path: Path) -> None:
    """It takes up to a minute, for downloads."""
    (wheel,) = distribution.glob("*.whl")
    assert wheel.name == f"allennlp_sledgehammer-{__version__}-py3-none-any.whl"
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv/bin"
    pip = [binaries / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    needs = run(*pip, "-c", ROOT / "constraints.txt", *NEEDS, cwd=tmp_path)
    if needs.returncode != 0 and any(word in needs.stderr for word in UNREACHABLE):
        pytest.skip(f"pip reaches no index: {needs.stderr.strip().splitlines()[-1]}")
    assert needs.returncode == 0, needs.stderr
    installed = run(*pip, "--no-deps", wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr

    (tmp_path / "texts.jsonl").write_text('{"text": "a fine film"}\n{"text": "dull"}\n')
    answered = run(
        binaries / "sledgehammer", "predict", tiny_engine, "texts.jsonl", "--threshold", 0.5,
        cwd=tmp_path,
    )  # fmt: skip
    assert answered.returncode == 0, answered.stderr
    answers = [json.loads(line) for line in answered.stdout.splitlines()]
    assert len(answers) == 2 and all(0 < answer["confidence"] <= 1 for answer in answers)

    absent = run(binaries / "python", "-c", "import torch", cwd=tmp_path)
    assert "No module named 'torch'" in absent.stderr
    refused = run(binaries / "sledgehammer", "train", "config.jsonnet", cwd=tmp_path)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "pip install --no-deps allennlp" in refused.stderr
