"""Shared fixtures: where the test data is, and small readers and models."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

# No test may reach for the network; must be set before transformers is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from allennlp.data import Vocabulary

import sledgehammer.plugin  # noqa: F401  registers everything
from sledgehammer.dataset_readers import SnliReader, SstReader
from sledgehammer.model.multi_exit import MultiExitClassifier

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
TINY_BERT = str(FIXTURES / "tiny_bert")
"""A BERT of 4 layers with random weights."""


@pytest.fixture
def sst_reader() -> SstReader:
    return SstReader(model_name=TINY_BERT)


@pytest.fixture
def snli_reader() -> SnliReader:
    return SnliReader(model_name=TINY_BERT)


@pytest.fixture
def vocab() -> Vocabulary:
    """Labels of the binary sentiment task: 0 is negative, 1 is positive."""
    vocab = Vocabulary()
    for label in ("negative", "positive"):
        vocab.add_token_to_namespace(label, "labels")
    return vocab


@pytest.fixture
def model(vocab: Vocabulary) -> MultiExitClassifier:
    """Exits after layers 0, 2 and 3 of the tiny BERT, in evaluation mode."""
    torch.manual_seed(0)
    return MultiExitClassifier(vocab, [0, 2, 3], model_name=TINY_BERT, pooling="mean").eval()


@pytest.fixture(scope="session")
def tiny_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of `fixtures/tiny.jsonnet`: exits after layers 0, 2 and 3. Not to be changed."""
    from tests.tiny_training import train

    directory = tmp_path_factory.mktemp("tiny") / "run"
    train(directory)
    return directory / "model.tar.gz"


@pytest.fixture(scope="session")
def tiny_engine(tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, exported for ONNX Runtime in float32. Not to be changed."""
    return _exported(tiny_archive, tmp_path_factory, "onnx", "onnxruntime")


@pytest.fixture(scope="session")
def tiny_openvino(tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, exported for OpenVINO in float32. Not to be changed."""
    return _exported(tiny_archive, tmp_path_factory, "openvino", "openvino")


def _exported(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, runtime: str, package: str
) -> Path:
    for needed in ("onnx", "onnxruntime", package):
        pytest.importorskip(needed)
    from sledgehammer.export.directory import Format, export
    from sledgehammer.model.archives import open_archive

    directory = tmp_path_factory.mktemp(runtime)
    export(str(archive), open_archive(str(archive)), Format(runtime, "fp32"), directory)
    return directory


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium."""
    with chromium_with(tmp_path / "profile") as window:
        yield window


@contextmanager
def chromium_with(profile: Path) -> Iterator[Any]:
    """Start a headless Chromium that keeps its files in a folder, or skip the test without one."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver (Debian: apt install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "window-size=1000,700",
        f"user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield window
    finally:
        window.quit()
