"""Each supported family against the library's own forward pass."""

from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import torch
import transformers
from allennlp.common.checks import ConfigurationError
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.models.deberta_v2 import modeling_deberta_v2

from sledgehammer.network.encoder import LayeredEncoder, LayerInput, mean_pool
from sledgehammer.network.families import FAMILIES

LAYERS = 4
SIZES = dict(vocab_size=60, hidden_size=16, num_hidden_layers=LAYERS, num_attention_heads=2,
             intermediate_size=32, max_position_embeddings=40, initializer_range=0.3)  # fmt: skip
DISTILBERT = dict(vocab_size=60, dim=16, n_layers=LAYERS, n_heads=2, hidden_dim=32,
                  max_position_embeddings=40, initializer_range=0.3)  # fmt: skip
DEBERTA = {**SIZES, "relative_attention": True, "pos_att_type": "p2c|c2p", "type_vocab_size": 0,
           "position_biased_input": False}  # fmt: skip
# Distances above 2 share buckets.
DEBERTA_V3 = {**DEBERTA, "position_buckets": 4, "norm_rel_ebd": "layer_norm", "share_att_key": True}
# Layers 1 and 2 see 3 tokens to each side.
MODERNBERT = {**SIZES, "local_attention": 6, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
              "cls_token_id": 1, "sep_token_id": 2}  # fmt: skip
CONFIGS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "albert": ("AlbertConfig", {**SIZES, "embedding_size": 8}),
    "albert-2-groups": ("AlbertConfig", {**SIZES, "embedding_size": 8, "num_hidden_groups": 2}),
    "albert-2-inner": ("AlbertConfig", {**SIZES, "embedding_size": 8, "inner_group_num": 2}),
    "bert": ("BertConfig", SIZES),
    "bert-relative": ("BertConfig", {**SIZES, "position_embedding_type": "relative_key"}),
    "camembert": ("CamembertConfig", SIZES),
    "deberta": ("DebertaConfig", DEBERTA),
    "deberta-types": ("DebertaConfig", {**DEBERTA, "type_vocab_size": 2,
                                        "position_biased_input": True, "pos_att_type": "c2p"}),
    "deberta-v2": ("DebertaV2Config", SIZES),
    "deberta-v2-conv": ("DebertaV2Config", {**DEBERTA_V3, "share_att_key": False,
                                            "conv_kernel_size": 3, "conv_act": "gelu"}),
    "deberta-v3": ("DebertaV2Config", DEBERTA_V3),
    "distilbert": ("DistilBertConfig", DISTILBERT),
    "electra": ("ElectraConfig", SIZES),
    "electra-narrow": ("ElectraConfig", {**SIZES, "embedding_size": 8}),
    "modernbert": ("ModernBertConfig", MODERNBERT),
    "modernbert-wide": ("ModernBertConfig", {**MODERNBERT, "local_attention": 128}),
    "mpnet": ("MPNetConfig", SIZES),
    "nomic_bert": ("NomicBertConfig", SIZES),
    "roberta": ("RobertaConfig", SIZES),
    "roberta-prelayernorm": ("RobertaPreLayerNormConfig", SIZES),
    "xlm-roberta": ("XLMRobertaConfig", SIZES),
    "xlm-roberta-xl": ("XLMRobertaXLConfig", SIZES),
}  # fmt: skip
MISSING = {name for name, (config, _) in CONFIGS.items() if not hasattr(transformers, config)}
"""Those that the installed transformers does not have."""
CANNOT_RUN = set() if hasattr(np, "int") or not hasattr(modeling_deberta_v2, "np") else {
    "deberta-v2-conv", "deberta-v3"
}  # fmt: skip
"""Those that it has, and that its own forward pass cannot run on the installed numpy."""
LENGTHS = [12, 7, 3, 9]
WITH_POOLER = {"albert", "bert", "camembert", "mpnet", "roberta", "roberta-prelayernorm",
               "xlm-roberta", "xlm-roberta-xl"}  # fmt: skip
"""Types whose models have a pooler of their own."""


def config_of(name: str) -> PretrainedConfig:
    class_name, arguments = CONFIGS[name]
    if name in MISSING:
        pytest.skip(f"transformers {transformers.__version__} has no {class_name}")
    if name in CANNOT_RUN:
        pytest.skip(
            f"transformers {transformers.__version__} needs np.int, not in {np.__version__}"
        )
    return getattr(transformers, class_name)(**arguments)


def build(name: str, attention: str = "") -> PreTrainedModel:
    torch.manual_seed(0)
    arguments = {"attn_implementation": attention} if attention else {}
    return AutoModel.from_config(config_of(name), **arguments).eval()


def variants() -> List[Tuple[str, str]]:
    """Every config, with each implementation of attention if the library offers a choice."""
    found = []
    for name in CONFIGS:
        model_class = (
            None
            if name in MISSING | CANNOT_RUN
            else AutoModel._model_mapping[type(config_of(name))]
        )
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


def after_layer(
    encoder: LayeredEncoder, layer: int, inputs: LayerInput, expected: Any
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Our states and the library's; those of the last layer as exits read them.

    Of models with a final norm, not all return the last states from before it.
    """
    if layer == LAYERS - 1:
        return encoder.read(inputs).hidden, expected.last_hidden_state
    return inputs.hidden, expected.hidden_states[layer + 1]


def test_all_families_are_covered() -> None:
    types = {config_of(name).model_type for name in set(CONFIGS) - MISSING - CANNOT_RUN}
    assert types | (MISSING & set(FAMILIES)) == set(FAMILIES)


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
        ours, theirs = after_layer(encoder, layer, inputs, expected)
        assert_same(ours, theirs, batch["attention_mask"])
    pooled = getattr(expected, "pooler_output", None)
    assert (pooled is not None) == (model.config.model_type in WITH_POOLER)
    first = expected.last_hidden_state[:, 0] if pooled is None else pooled
    pooled_first = encoder.pool_first(encoder.read(inputs))
    torch.testing.assert_close(pooled_first, first, rtol=1e-5, atol=2e-6)


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
    # An exit reads what the library's model with so many layers returns.
    if not name.startswith("albert"):  # whose groups it would divide anew
        cut_off = reference(short, batch).last_hidden_state
        assert_same(encoder.read(inputs).hidden, cut_off, batch["attention_mask"])


@pytest.mark.parametrize("keep_pooler", [True, False])
# With relative positions the library keeps a table of absolute ones that it never uses.
@pytest.mark.parametrize("name", sorted(set(CONFIGS) - {"bert-relative"}))
def test_every_parameter_is_used(name: str, keep_pooler: bool) -> None:
    """A parameter without a gradient would stop distributed training."""
    encoder = LayeredEncoder(build(name), 2, LAYERS, keep_pooler=keep_pooler)
    inputs = encoder.start(padded_batch(encoder.transformer))
    for layer in range(2):
        inputs = encoder.run_layer(layer, inputs)
    read = encoder.read(inputs)
    pooled = encoder.pool_first(read) if keep_pooler else mean_pool(read)
    pooled.square().sum().backward()
    assert [key for key, weight in encoder.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("name", ["albert", "bert", "deberta-types", "electra-narrow"])
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
        ours, theirs = after_layer(encoder, layer, inputs, expected)
        assert_same(ours, theirs[rows, :width], mask)
    pooled = getattr(expected, "pooler_output", None)
    if pooled is None:
        pooled = expected.last_hidden_state[:, 0]
    first = encoder.pool_first(encoder.read(inputs))
    torch.testing.assert_close(first, pooled[rows], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name, attention", variants())
@torch.no_grad()
def test_a_row_is_alone_what_it_is_in_a_batch(name: str, attention: str) -> None:
    model = build(name, attention)
    batch = padded_batch(model)
    encoder = LayeredEncoder(model, LAYERS, LAYERS)
    together = encoder.start(batch)
    alone = [
        encoder.start({key: tensor[row : row + 1, :length] for key, tensor in batch.items()})
        for row, length in enumerate(LENGTHS)
    ]
    for layer in range(LAYERS):
        together = encoder.run_layer(layer, together)
        alone = [encoder.run_layer(layer, inputs) for inputs in alone]
        for row, length in enumerate(LENGTHS):
            ours = encoder.read(alone[row]).hidden[0]
            whole = encoder.read(together).hidden[row, :length]
            # Products of other shapes add their numbers in another order.
            torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["deberta", "deberta-v3"])
@torch.no_grad()
def test_texts_longer_than_all_buckets(name: str) -> None:
    """Relative positions have no end: beyond the largest distance all are alike."""
    model = build(name)
    batch = padded_batch(model, [100, 61])
    expected = reference(model, batch)
    encoder = LayeredEncoder(model, LAYERS, LAYERS)
    inputs = encoder.start(batch)
    for layer in range(LAYERS):
        inputs = encoder.run_layer(layer, inputs)
        assert_same(inputs.hidden, expected.hidden_states[layer + 1], batch["attention_mask"])


@pytest.mark.skipif(not CANNOT_RUN, reason="transformers and numpy fit")
def test_buckets_that_the_library_cannot_compute_are_refused() -> None:
    class_name, arguments = CONFIGS["deberta-v3"]
    model = AutoModel.from_config(getattr(transformers, class_name)(**arguments))
    with pytest.raises(ConfigurationError, match="cannot run deberta-v2 .*: use a newer"):
        LayeredEncoder(model, LAYERS, LAYERS)


def test_attention_of_another_form_is_refused() -> None:
    model = build("modernbert")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ConfigurationError, match="'flash_attention_2' is not supported: build"):
        LayeredEncoder(model, LAYERS, LAYERS)


@torch.no_grad()
def test_padding_far_from_all_tokens_stays_finite() -> None:
    """A window that holds nothing but padding must not spread NaN, whatever the number format."""
    model = build("modernbert", "eager").to(torch.float16)
    batch = padded_batch(model, [30, 2])
    encoder = LayeredEncoder(model, LAYERS, LAYERS)
    inputs = encoder.start(batch)
    for layer in range(LAYERS):
        inputs = encoder.run_layer(layer, inputs)
    assert inputs.hidden.isfinite().all()


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


@pytest.mark.parametrize("class_name", ["GPT2Config", "FunnelConfig", "MobileBertConfig"])
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
    constant = getattr(parent["encoder"].transformer.embeddings, "position_ids", None)
    assert constant is None or torch.equal(constant[0], torch.arange(40))


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
