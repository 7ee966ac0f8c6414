"""Each supported family against the library's own forward pass."""

from typing import Any, Dict, List, Tuple

import pytest
import torch
import transformers
from allennlp.common.checks import ConfigurationError
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from sledgehammer.network.encoder import LayeredEncoder, LayerInput, mean_pool
from sledgehammer.network.families import FAMILIES

LAYERS = 4
SIZES = dict(vocab_size=60, hidden_size=16, num_hidden_layers=LAYERS, num_attention_heads=2,
             intermediate_size=32, max_position_embeddings=40, initializer_range=0.3)  # fmt: skip
DISTILBERT = dict(vocab_size=60, dim=16, n_layers=LAYERS, n_heads=2, hidden_dim=32,
                  max_position_embeddings=40, initializer_range=0.3)  # fmt: skip
CONFIGS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "albert": ("AlbertConfig", {**SIZES, "embedding_size": 8}),
    "albert-2-groups": ("AlbertConfig", {**SIZES, "embedding_size": 8, "num_hidden_groups": 2}),
    "albert-2-inner": ("AlbertConfig", {**SIZES, "embedding_size": 8, "inner_group_num": 2}),
    "bert": ("BertConfig", SIZES),
    "bert-relative": ("BertConfig", {**SIZES, "position_embedding_type": "relative_key"}),
    "camembert": ("CamembertConfig", SIZES),
    "distilbert": ("DistilBertConfig", DISTILBERT),
    "electra": ("ElectraConfig", SIZES),
    "electra-narrow": ("ElectraConfig", {**SIZES, "embedding_size": 8}),
    "mpnet": ("MPNetConfig", SIZES),
    "roberta": ("RobertaConfig", SIZES),
    "xlm-roberta": ("XLMRobertaConfig", SIZES),
}
LENGTHS = [12, 7, 3, 9]
WITH_POOLER = {"albert", "bert", "camembert", "mpnet", "roberta", "xlm-roberta"}
"""Types whose models have a pooler of their own."""


def config_of(name: str) -> PretrainedConfig:
    class_name, arguments = CONFIGS[name]
    return getattr(transformers, class_name)(**arguments)


def build(name: str, attention: str = "") -> PreTrainedModel:
    torch.manual_seed(0)
    arguments = {"attn_implementation": attention} if attention else {}
    return AutoModel.from_config(config_of(name), **arguments).eval()


def variants() -> List[Tuple[str, str]]:
    """Every config, with each implementation of attention if the library offers a choice."""
    found = []
    for name in CONFIGS:
        model_class = AutoModel._model_mapping[type(config_of(name))]
        choice = getattr(model_class, "_supports_sdpa", False)
        found += [(name, attention) for attention in (("sdpa", "eager") if choice else ("",))]
    return found


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
@pytest.mark.parametrize("name, attention", variants())
@torch.no_grad()
def test_equals_the_library_layer_by_layer(name: str, attention: str, lengths: List[int]) -> None:
    model = build(name, attention)
    if attention:
        assert model.config._attn_implementation == attention
    batch = padded_batch(model, lengths)
    expected = reference(model, batch)
    encoder = LayeredEncoder(model, LAYERS, LAYERS)
    inputs = encoder.start(batch)
    assert_same(inputs.hidden, expected.hidden_states[0], batch["attention_mask"])
    for layer in range(LAYERS):
        inputs = encoder.run_layer(layer, inputs)
        assert_same(inputs.hidden, expected.hidden_states[layer + 1], batch["attention_mask"])
    pooled = getattr(expected, "pooler_output", None)
    assert (pooled is not None) == (model.config.model_type in WITH_POOLER)
    first = expected.last_hidden_state[:, 0] if pooled is None else pooled
    torch.testing.assert_close(encoder.pool_first(inputs), first, rtol=1e-5, atol=2e-6)


@torch.no_grad()
def test_albert_groups_that_do_not_divide_the_layers() -> None:
    """The library's quotient of floats puts layer 9 into group 6; exactly it would be 7."""
    torch.manual_seed(0)
    sizes = {**SIZES, "embedding_size": 8, "num_hidden_layers": 18, "num_hidden_groups": 14}
    model = AutoModel.from_config(transformers.AlbertConfig(**sizes)).eval()
    batch = padded_batch(model)
    expected = reference(model, batch)
    encoder = LayeredEncoder(model, 18, 18)
    inputs = encoder.start(batch)
    for layer in range(18):
        inputs = encoder.run_layer(layer, inputs)
        assert_same(inputs.hidden, expected.hidden_states[layer + 1], batch["attention_mask"])


@pytest.mark.parametrize("kept", [1, 2, 3])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_transformer_built_with_fewer_layers(name: str, kept: int) -> None:
    """As the model builds it: from a config with fewer layers, with the full model's weights."""
    full = build(name)
    config = config_of(name)
    config.num_hidden_layers = kept
    short = AutoModel.from_config(config).eval()
    weights = full.state_dict()
    short.load_state_dict({key: weights[key] for key in short.state_dict()})
    batch = padded_batch(full)
    expected = reference(full, batch)
    encoder = LayeredEncoder(short, kept, LAYERS)
    inputs = encoder.start(batch)
    for layer in range(kept):
        inputs = encoder.run_layer(layer, inputs)
    assert_same(inputs.hidden, expected.hidden_states[kept], batch["attention_mask"])


@pytest.mark.parametrize("keep_pooler", [True, False])
# With relative positions the library keeps a table of absolute ones that it never uses.
@pytest.mark.parametrize("name", sorted(set(CONFIGS) - {"bert-relative"}))
def test_every_parameter_is_used(name: str, keep_pooler: bool) -> None:
    """A parameter without a gradient would stop distributed training."""
    encoder = LayeredEncoder(build(name), 2, LAYERS, keep_pooler=keep_pooler)
    inputs = encoder.start(padded_batch(encoder.transformer))
    for layer in range(2):
        inputs = encoder.run_layer(layer, inputs)
    pooled = encoder.pool_first(inputs) if keep_pooler else mean_pool(inputs)
    pooled.square().sum().backward()
    assert [key for key, weight in encoder.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("name", ["albert", "bert", "electra-narrow"])
@torch.no_grad()
def test_token_types_reach_the_embeddings(name: str) -> None:
    model = build(name)
    batch = padded_batch(model)
    batch["token_type_ids"] = (torch.arange(12) > 4).long().expand(4, 12)
    encoder = LayeredEncoder(model, LAYERS, LAYERS)
    expected = reference(model, batch)
    assert_same(
        encoder.run_layer(0, encoder.start(batch)).hidden,
        expected.hidden_states[1],
        batch["attention_mask"],
    )


@pytest.mark.parametrize("rows", [[1, 2], [3], [3, 1]], ids=str)
@pytest.mark.parametrize("name, attention", variants())
@torch.no_grad()
def test_narrowed_rows_go_on_as_before(name: str, attention: str, rows: List[int]) -> None:
    """Some rows alone, without the columns that only the others needed."""
    model = build(name, attention)
    batch = padded_batch(model)
    expected = reference(model, batch)
    encoder = LayeredEncoder(model, LAYERS, LAYERS)
    inputs = encoder.run_layer(0, encoder.start(batch))
    width = max(LENGTHS[row] for row in rows)
    inputs = encoder.narrow(inputs, torch.tensor(rows), width)
    mask = batch["attention_mask"][rows, :width]
    assert torch.equal(inputs.mask, mask)
    for layer in range(1, LAYERS):
        inputs = encoder.run_layer(layer, inputs)
        assert inputs.hidden.shape == (len(rows), width, 16)
        assert_same(inputs.hidden, expected.hidden_states[layer + 1][rows, :width], mask)
    pooled = getattr(expected, "pooler_output", expected.last_hidden_state[:, 0])
    torch.testing.assert_close(encoder.pool_first(inputs), pooled[rows], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_above_the_last_exit_are_dropped(name: str) -> None:
    full = build(name)
    keys = set(full.state_dict())
    encoder = LayeredEncoder(full, 2, LAYERS)
    kept = set(encoder.transformer.state_dict())
    assert kept <= keys
    assert not any(f".{layer}." in key for key in kept for layer in (2, 3))
    shared = name in ("albert", "albert-2-inner")  # one group: there is nothing to drop
    assert (kept == keys) == shared
    if not shared:
        assert count(encoder) < count(build(name))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_pooler_is_dropped_when_not_needed(name: str) -> None:
    poolers = [
        [
            key
            for key in LayeredEncoder(build(name), 2, LAYERS, keep).state_dict()
            if "pooler" in key
        ]
        for keep in (True, False)
    ]
    assert bool(poolers[0]) == (config_of(name).model_type in WITH_POOLER)
    assert poolers[1] == []


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
@pytest.mark.parametrize("name", CONFIGS)
def test_position_ids_may_be_in_a_state_dict_or_not(name: str, stored: bool) -> None:
    """Old transformers store the constant, new ones don't."""
    parent = torch.nn.ModuleDict({"encoder": LayeredEncoder(build(name), LAYERS, LAYERS)})
    state = {key: torch.zeros_like(value) for key, value in parent.state_dict().items()}
    key = "encoder.transformer.embeddings.position_ids"
    state.pop(key, None)
    if stored:
        state[key] = torch.arange(40)[None, :]
    given = set(state)
    parent.load_state_dict(state)
    assert set(state) == given
    assert not any(parameter.any() for parameter in parent.parameters())
    assert torch.equal(parent["encoder"].transformer.embeddings.position_ids[0], torch.arange(40))


def test_other_differences_in_a_state_dict_are_errors() -> None:
    encoder = LayeredEncoder(build("bert"), LAYERS, LAYERS)
    state = dict(encoder.state_dict())
    state["transformer.embeddings.others"] = state.pop("transformer.pooler.dense.bias")
    with pytest.raises(RuntimeError, match=r"(?s)pooler\.dense\.bias.*embeddings\.others"):
        encoder.load_state_dict(state)


@torch.no_grad()
def test_mean_pool_ignores_padding() -> None:
    encoder = LayeredEncoder(build("bert"), LAYERS, LAYERS)
    inputs = encoder.start(padded_batch(encoder.transformer))
    garbage = inputs.hidden.masked_fill(~inputs.mask[:, :, None], 1e6)
    pooled = mean_pool(LayerInput(garbage, inputs.mask, None))
    for row, length in enumerate(LENGTHS):
        expected = inputs.hidden[row, :length].mean(dim=0)
        torch.testing.assert_close(pooled[row], expected, rtol=1e-5, atol=1e-6)
