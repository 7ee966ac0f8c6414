"""Rows alone against rows among others, with engines that do and do not keep them apart."""

from typing import List

import numpy as np
import pytest

from sledgehammer.analysis.isolation import LARGEST_BATCH, Isolation, isolation_of
from sledgehammer.engine import Engine
from sledgehammer.engine.batch import Arrays
from sledgehammer.engine.manifest import Manifest
from sledgehammer.engine.tokenizer import Encoded, Tokenizer
from tests.conftest import FIXTURES

MANIFEST = Manifest(
    runtime="onnx", precision="int8", exit_layers=[0, 3], full_layers=4, segments=[],
    labels=["negative", "positive"], temperatures=[1.0, 1.0],
    policy={"type": "confidence", "threshold": 0.75}, inputs=["input_ids", "attention_mask"],
    fields=["text"], max_length=8, pad_token_id=0, source={}, versions={},
)  # fmt: skip


class Segments:
    """Logits that are a row's first word piece, and `leak` times the mean of the batch's."""

    def __init__(self, leak: float) -> None:
        self.leak = leak
        self.sizes: List[int] = []

    def run(self, position: int, inputs: Arrays) -> Arrays:
        if position == 0:
            inputs = {**inputs, "hidden": inputs["input_ids"][:, :, None].astype(np.float32)}
            self.sizes.append(len(inputs["hidden"]))
        first = inputs["hidden"][:, 0, 0] / 10 - 1
        first = first + self.leak * first.mean()
        logits = np.stack([first, -first], axis=1).astype(np.float32)
        return {"logits": logits, "hidden": inputs["hidden"], "pooled": inputs["hidden"]}


def tokenizer() -> Tokenizer:
    file = FIXTURES / "tiny_bert/tokenizer.json"
    return Tokenizer(file, MANIFEST.max_length, MANIFEST.inputs, MANIFEST.pad_token_id, 1)


def isolation(leak: float, batches: int = 40) -> "tuple[Isolation, Segments]":
    segments = Segments(leak)
    engine = Engine(MANIFEST, tokenizer(), segments)
    encoded = [Encoded([i] * (1 + i % 5), [0] * (1 + i % 5)) for i in range(21)]
    return isolation_of(engine, encoded, batches), segments


def test_rows_that_are_kept_apart() -> None:
    found, segments = isolation(leak=0.0)
    assert found.is_complete
    assert (found.batches, found.labels, found.exits, found.probabilities) == (40, 0, 0, 0)
    assert found.rows == sum(segments.sizes[21:]) and segments.sizes[:21] == [1] * 21
    assert max(segments.sizes) > 21 and max(segments.sizes) <= LARGEST_BATCH
    assert 1 in segments.sizes[21:]


def test_rows_that_are_not() -> None:
    found, _ = isolation(leak=-0.9)
    assert not found.is_complete
    assert 0 < found.labels <= found.rows and 0 < found.exits <= found.rows
    assert found.probability_difference > 1e-3 and found.probabilities > 0


def test_rounding_is_nothing() -> None:
    found, _ = isolation(leak=1e-5)
    assert found.probabilities == 0 < found.probability_difference < 1e-3


def test_no_rows() -> None:
    engine = Engine(MANIFEST, tokenizer(), Segments(0.0))
    with pytest.raises(ValueError, match="no rows"):
        isolation_of(engine, [], 3)
