import copy

import pytest
import torch
from allennlp.data import Vocabulary

from sledgehammer.benchmark.plain import PlainClassifier
from sledgehammer.model.multi_exit import MultiExitClassifier
from tests.conftest import TINY_BERT
from tests.export.test_segments import some_tokens


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("position, layers", [(0, 1), (1, 3), (-1, 4)])
def test_it_is_the_cut_model(vocab: Vocabulary, pooling: str, position: int, layers: int) -> None:
    torch.manual_seed(0)
    model = MultiExitClassifier(vocab, [0, 2, 3], model_name=TINY_BERT, pooling=pooling).eval()
    plain = PlainClassifier(model, position)
    tokens = some_tokens()
    with torch.no_grad():
        inputs = model.encoder.start(tokens)
        for layer in range(layers):
            inputs = model.encoder.run_layer(layer, inputs)
        pooled = model.encoder.pooling(pooling)(inputs)
        expected = copy.deepcopy(model.exits[position].linear)(pooled)  # type: ignore[operator]
        torch.testing.assert_close(plain(tokens), expected)
