"""Models with a lexical exit, and rows for them."""

import math
from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from allennlp.data import Vocabulary

from sledgehammer.lexical import FeatureSpace, LinearModel
from sledgehammer.model.lexical import LexicalExit
from sledgehammer.model.multi_exit import MultiExitClassifier
from tests.conftest import TINY_BERT

PIECES = 160
"""Word pieces of the tiny BERT are below this."""


def linear_model(texts: int = 1, labels: int = 2, bits: int = 9, seed: int = 0) -> LinearModel:
    """Random weights; half of the buckets were never seen."""
    rng = np.random.default_rng(seed)
    table = rng.normal(0, 6, (1 << bits, 1 + labels)).astype(np.float16)
    table[:, 0] = 1 + rng.integers(0, 128, 1 << bits) / 64
    table[rng.random(1 << bits) < 0.5] = 0
    return LinearModel(
        FeatureSpace(texts, 2, bits), table, np.linspace(-0.2, 0.3, labels, dtype=np.float32)
    )


def model_with_lexical(
    vocab: Vocabulary, signals: Sequence[str] = (), pooling: str = "mean"
) -> MultiExitClassifier:
    """Exits at -1, 0, 2 and 3, all calibrated and mixed, whose confidences are spread out."""
    torch.manual_seed(0)
    model = MultiExitClassifier(
        vocab, [0, 2, 3], model_name=TINY_BERT, pooling=pooling, signals=signals,
        lexical=LexicalExit.of(linear_model()),
    ).eval()  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in [*model.exits.parameters(), *(model.depth or model.exits).parameters()]:
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        model.mixing.copy_(torch.tensor([0.0, 0.8, 0.3, 1.2]))
        inputs = batch_of(random_rows(100, seed=1))
        model.always_run_all_exits = True
        logits = model(**inputs)["logits"]
        model.always_run_all_exits = False
        scaled = logits + model.mixing[:, None] * logits[:, :1]
        difference = (scaled[..., 0] - scaled[..., 1]).abs().median(dim=0).values
        model.temperatures.copy_(difference / math.log(4))
    return model


def random_rows(count: int, seed: int) -> List[List[int]]:
    """Word pieces of some rows, without special tokens."""
    rng = np.random.default_rng(seed)
    return [rng.integers(5, PIECES, rng.integers(1, 18)).tolist() for _ in range(count)]


def batch_of(rows: Sequence[List[int]]) -> Dict[str, Any]:
    """The model's input, the rows' first token before their pieces."""
    width = 1 + max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row) + 1] = torch.tensor([2, *row])
        mask[number, : len(row) + 1] = True
    tokens = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {"tokens": tokens, "pieces": [[row] for row in rows]}
