"""Each supported family against the library's own forward pass."""

from typing import Any, Dict, List, Tuple

import pytest
import torch
import transformers
from allennlp.common.checks import ConfigurationError
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from sledgehammer.encoder import FAMILIES, LayeredEncoder, mean_pool

LAYERS = 4
SIZES = dict(vocab_size=60, hidden_size=16, num_hidden_layers=LAYERS, num_attention_heads=2,
             intermediate_size=32, max_position_embeddings=40, initializer_range=0.3)  # fmt: skip
DISTILBERT = dict(vocab_size=60, dim=16, n_layers=LAYERS, n_heads=2, hidden_dim=32,
                  max_position_embeddings=40, initializer_range=0.3)  # fmt: skip
CONFIGS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "albert": ("AlbertConfig", {**SIZES, "embedding_size": 8}),
    "albert-2-groups": ("AlbertConfig", {**SIZES, "embedding_size": 8, "num_hidden_groups": 2}),
    "bert": ("BertConfig", SIZES),
    "camembert": ("CamembertConfig", SIZES),
    "distilbert": ("DistilBertConfig", DISTILBERT),
    "electra": ("ElectraConfig", SIZES),
    "electra-narrow": ("ElectraConfig", {**SIZES, "embedding_size": 8}),
    "mpnet": ("MPNetConfig", SIZES),
    "roberta": ("RobertaConfig", SIZES),
    "xlm-roberta": ("XLMRobertaConfig", SIZES),
}
LENGTHS = [12, 7, 3, 9]


def config_of(name: str) -> PretrainedConfig:
    class_name, arguments = CONFIGS[name]
    return getattr(transformers, class_name)(**arguments)


def build(name: str, attention: str = "") -> PreTrainedModel:
    torch.manual_seed(0)
    arguments = {"attn_implementation": attention} if attention else {}
    return AutoModel.from_config(config_of(name), **arguments).eval()


def padded_batch(model: PreTrainedModel, lengths: List[int] = LENGTHS) -> Dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pad = model.config.pad_token_id
    ids = torch.randint(5, 60, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    return {"input_ids": ids.masked_fill(~mask, pad), "attention_mask": mask}


def reference(model: PreTrainedModel, batch: Dict[str, torch.Tensor]) -> Any:
    arguments = {**batch, "attention_mask": batch["attention_mask"].long()}
    with torch.no_grad():
        return model(**arguments, output_hidden_states=True)


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, mask: torch.Tensor) -> None:
    torch.testing.assert_close(ours[mask], theirs[mask], rtol=1e-5, atol=2e-6)


def test_all_families_are_covered() -> None:
    assert {config_of(name).model_type for name in CONFIGS} == set(FAMILIES)


@pytest.mark.parametrize("lengths", [LENGTHS, [8, 8]], ids=["padded", "unpadded"])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_equals_the_library_layer_by_layer(name: str, lengths: List[int]) -> None:
    model = build(name)
    batch = padded_batch(model, lengths)
    expected = reference(model, batch)
    encoder = LayeredEncoder(model, LAYERS, LAYERS)
    inputs = encoder.start(batch)
    assert_same(inputs.hidden, expected.hidden_states[0], batch["attention_mask"])
    for layer in range(LAYERS):
        inputs = encoder.run_layer(layer, inputs)
        assert_same(inputs.hidden, expected.hidden_states[layer + 1], batch["attention_mask"])
    pooled = getattr(expected, "pooler_output", None)
    first = expected.last_hidden_state[:, 0] if pooled is None else pooled
    torch.testing.assert_close(encoder.pool_first(inputs), first, rtol=1e-5, atol=2e-6)


@pytest.mark.skipif(
    not hasattr(PreTrainedModel, "_check_and_enable_sdpa"),
    reason="these transformers have only one implementation of attention",
)
@pytest.mark.parametrize("name", ["albert", "bert", "distilbert", "roberta"])
@torch.no_grad()
def test_equals_the_library_with_eager_attention(name: str) -> None:
    model = build(name, attention="eager")
    batch = padded_batch(model)
    expected = reference(model, batch)
    encoder = LayeredEncoder(model, LAYERS, LAYERS)
    inputs = encoder.start(batch)
    for layer in range(LAYERS):
        inputs = encoder.run_layer(layer, inputs)
        assert_same(inputs.hidden, expected.hidden_states[layer + 1], batch["attention_mask"])


@torch.no_grad()
def test_token_types_reach_the_embeddings() -> None:
    model = build("bert")
    batch = padded_batch(model)
    batch["token_type_ids"] = (torch.arange(12) > 4).long().expand(4, 12)
    encoder = LayeredEncoder(model, LAYERS, LAYERS)
    expected = reference(model, batch)
    assert_same(
        encoder.run_layer(0, encoder.start(batch)).hidden,
        expected.hidden_states[1],
        batch["attention_mask"],
    )


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_narrowed_rows_go_on_as_before(name: str) -> None:
    """Rows 1 and 2 alone, without the columns that only the others needed."""
    model = build(name)
    batch = padded_batch(model)
    expected = reference(model, batch)
    encoder = LayeredEncoder(model, LAYERS, LAYERS)
    inputs = encoder.run_layer(0, encoder.start(batch))
    inputs = encoder.narrow(inputs, torch.tensor([1, 2]), 7)
    for layer in range(1, LAYERS):
        inputs = encoder.run_layer(layer, inputs)
    assert inputs.hidden.shape == (2, 7, 16)
    theirs = expected.last_hidden_state[1:3, :7]
    assert_same(inputs.hidden, theirs, batch["attention_mask"][1:3, :7])


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_above_the_last_exit_are_dropped(name: str) -> None:
    full = build(name)
    keys = set(full.state_dict())
    encoder = LayeredEncoder(full, 2, LAYERS)
    kept = set(encoder.transformer.state_dict())
    assert kept <= keys
    assert not any(f".{layer}." in key for key in kept for layer in (2, 3))
    shared = name == "albert"  # all layers are one group: there is nothing to drop
    assert (kept == keys) == shared


def test_pooler_is_dropped_when_not_needed() -> None:
    encoder = LayeredEncoder(build("bert"), LAYERS, LAYERS, keep_pooler=False)
    assert not any("pooler" in name for name, _ in encoder.named_parameters())


@pytest.mark.parametrize("class_name", ["GPT2Config", "DebertaConfig", "MobileBertConfig"])
def test_other_types_are_refused_by_name(class_name: str) -> None:
    config = getattr(transformers, class_name)()
    model = torch.nn.Module()
    model.config = config
    with pytest.raises(ConfigurationError, match=f"'{config.model_type}' are not supported") as e:
        LayeredEncoder(model, 1, 1)  # type: ignore[arg-type]
    assert all(name in str(e.value) for name in FAMILIES)


def test_decoders_are_refused() -> None:
    model = build("bert")
    model.config.is_decoder = True
    with pytest.raises(ConfigurationError, match="decoders"):
        LayeredEncoder(model, LAYERS, LAYERS)


@pytest.mark.parametrize("stored", [True, False])
def test_position_ids_may_be_in_a_state_dict_or_not(stored: bool) -> None:
    """Old transformers store the constant, new ones don't."""
    encoder = LayeredEncoder(build("bert"), LAYERS, LAYERS)
    state = dict(encoder.state_dict())
    name = "transformer.embeddings.position_ids"
    state.pop(name, None)
    if stored:
        state[name] = torch.arange(40)[None, :]
    assert not any(encoder.load_state_dict(state, strict=False))


@torch.no_grad()
def test_mean_pool_ignores_padding() -> None:
    encoder = LayeredEncoder(build("bert"), LAYERS, LAYERS)
    batch = padded_batch(encoder.transformer)
    inputs = encoder.start(batch)
    pooled = mean_pool(inputs)
    for row, length in enumerate(LENGTHS):
        expected = inputs.hidden[row, :length].mean(dim=0)
        torch.testing.assert_close(pooled[row], expected, rtol=1e-5, atol=1e-6)
