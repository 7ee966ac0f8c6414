"""Cut away the attention heads and feed-forward units that matter least (structured pruning).

They leave the weight matrices, so that the model is smaller and faster on any hardware. How much a
part matters is estimated on data, by the first-order Taylor expansion of the loss in a *gate*: a
factor on the part's output that is 1, and would be 0 without the part.
"""

from contextlib import contextmanager
from functools import partial
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor
from transformers import PretrainedConfig
from transformers.pytorch_utils import prune_linear_layer

from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.encoder import LayeredEncoder, TokenTensors
from sledgehammer.objectives.base import LossOverAllExits


class Parts(NamedTuple):
    """Say where a family of transformers keeps the parts that can be cut.

    # Parameters

    attention : `str`
        Path, below a layer, of the module whose `prune_heads` removes heads.
    heads_out : `str`
        Path of the linear map on the outputs of all heads.
    units_in, units_out : `str`
        Paths of the feed-forward part's two linear maps, to its units and back.
    width : `str`
        The config's name for the number of units.
    """

    attention: str
    heads_out: str
    units_in: str
    units_out: str
    width: str


_BERT = Parts(
    "attention", "attention.output.dense", "intermediate.dense", "output.dense", "intermediate_size"
)
PRUNABLE: Dict[str, Parts] = {
    "bert": _BERT,
    "camembert": _BERT,
    "distilbert": Parts("attention", "attention.out_lin", "ffn.lin1", "ffn.lin2", "hidden_dim"),
    "electra": _BERT,
    "mpnet": _BERT._replace(heads_out="attention.attn.o"),
    "roberta": _BERT,
    "roberta-prelayernorm": _BERT,
    "xlm-roberta": _BERT,
    "xlm-roberta-xl": _BERT,
}
"""Supported values of `config.model_type`."""

_DEBERTA = "transformers has no way to cut a head out of its attention to distances"
UNPRUNABLE: Dict[str, str] = {
    "albert": "its layers share their weights, so that a head could only go from all of them",
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,
    "modernbert": "its layers keep queries, keys and values, and gates and units, in one matrix",
    "nomic_bert": "its feed-forward units have gates, which would have to go with them",
}
"""Why other types can't be pruned, by `config.model_type`."""


class Importance(NamedTuple):
    """Say how much each part matters: one tensor a layer, each value at least 0.

    # Parameters

    heads : `List[Tensor]`
        Each of shape (heads of the layer,).
    units : `List[Tensor]`
        Each of shape (feed-forward units of the layer,).
    """

    heads: List[Tensor]
    units: List[Tensor]


class Kept(NamedTuple):
    """Say which parts stay: for each layer, their positions, in order, among its parts of now."""

    heads: List[List[int]]
    units: List[List[int]]


class Shape(NamedTuple):
    """Say how many heads and units a layer has."""

    heads: int
    units: int


def check_prunable(config: PretrainedConfig, heads: bool = True) -> None:
    """Raise a `ConfigurationError` if models with this config can't be pruned soundly.

    # Parameters

    heads : `bool`, optional (default = `True`)
        Whether attention heads are to be cut, not only feed-forward units.
    """
    name = config.model_type
    if name in UNPRUNABLE:
        raise ConfigurationError(f"{name} can't be pruned: {UNPRUNABLE[name]}")
    if name not in PRUNABLE:
        raise ConfigurationError(
            f"{name} can't be pruned; supported types: {', '.join(sorted(PRUNABLE))}"
        )
    if name == "mpnet" and heads:
        raise ConfigurationError(
            "mpnet's heads can't be pruned: all layers add one bias of positions, which has a value "
            "for each head of each layer; --width works"
        )


def shapes(encoder: LayeredEncoder) -> List[Shape]:
    """Return how many heads and feed-forward units each layer has."""
    parts = PRUNABLE[encoder.transformer.config.model_type]
    layer_shapes = []
    for layer in encoder.layers:
        units: Any = layer.get_submodule(parts.units_in)
        layer_shapes.append(Shape(len(_head_numbers(encoder, layer)), units.out_features))
    return layer_shapes


def importance(
    model: MultiExitClassifier, batches: Iterable[Tuple[TokenTensors, Tensor]]
) -> Importance:
    """Estimate how much the model's loss would change without each head and each unit.

    `I_g = mean over rows of |d loss(row) / d g|` at `g = 1`, g being the gate on a part's output.
    By the chain rule that is `|sum over tokens of output x gradient|`: for heads equation 3 of
    Michel et al., "Are Sixteen Heads Really Better than One?" (NeurIPS 2019); for units the
    criterion of Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient
    Inference" (ICLR 2017), which their "Importance Estimation for Neural Network Pruning" (CVPR
    2019) squares and applies to gates. The loss is the archive's own objective over all exits (with
    stages, the sum of their losses), without dropout, in float32.

    # Parameters

    batches : `Iterable[Tuple[TokenTensors, Tensor]]`
        Tokens and labels (rows,), on the model's device.
    """
    sizes = shapes(model.encoder)
    device = model.temperatures.device
    totals = [torch.zeros(count, device=device) for shape in sizes for count in shape]
    rows = 0
    with _loss_over_all_exits(model):
        for tokens, label in batches:
            gates = [total.new_ones(len(label), len(total)).requires_grad_() for total in totals]
            with gated(model.encoder, gates[::2], gates[1::2]):
                outputs = model.runner.run_all_exits(tokens, model.objective.gradients)
                loss = model.loss_of(outputs, tokens, label)
                gradients = torch.autograd.grad(loss, gates, allow_unused=True)
            rows += len(label)
            for total, gradient in zip(totals, gradients):
                if gradient is not None:
                    # The loss is a mean over rows: the gradient of one row's loss is as many times
                    # larger.
                    total += gradient.abs().sum(dim=0) * len(label)
    means = [(total / max(rows, 1)).cpu() for total in totals]
    return Importance(means[::2], means[1::2])


def choose(scores: Importance, heads: float, width: float) -> Kept:
    """Return the most important parts.

    Heads are ranked over all layers, each layer's values divided by their norm, as Michel et al.
    do; every layer keeps at least one. All layers keep the same number of units.

    # Parameters

    heads : `float`
        Share of all heads to keep, in (0, 1]; rounded to whole heads.
    width : `float`
        Share of the units to keep, in (0, 1]; rounded to whole units, at least one.
    """
    units = []
    for layer in scores.units:
        count = max(1, round(width * len(layer)))
        best = torch.sort(layer, descending=True, stable=True).indices[:count]
        units.append(sorted(best.tolist()))
    return Kept(_choose_heads(scores.heads, heads), units)


def _choose_heads(scores: Sequence[Tensor], share: float) -> List[List[int]]:
    smallest = torch.finfo(torch.float32).tiny
    ranked = []
    for number, layer in enumerate(scores):
        normed = (layer / layer.norm().clamp(min=smallest)).tolist()
        best = normed.index(max(normed))
        ranked += [(head != best, -score, number, head) for head, score in enumerate(normed)]
    kept: List[List[int]] = [[] for _ in scores]
    # The best head of each layer comes first, so that no layer is left without one.
    for _, _, number, head in sorted(ranked)[: max(len(scores), round(share * len(ranked)))]:
        kept[number].append(head)
    return [sorted(layer) for layer in kept]


def prune(model: MultiExitClassifier, kept: Kept) -> None:
    """Cut all parts but the kept ones out of the model's weights, in place.

    The transformer's config is changed too (see `config_changes`), so that a transformer built from
    it has the same shapes.

    # Raises

    `ConfigurationError` if the family can't be pruned soundly; then nothing has changed.
    """
    encoder = model.encoder
    transformer = encoder.transformer
    before = shapes(encoder)
    fewer_heads = any(len(k) < shape.heads for k, shape in zip(kept.heads, before))
    check_prunable(transformer.config, fewer_heads)
    parts = PRUNABLE[transformer.config.model_type]
    for number, (layer, heads, units) in enumerate(zip(encoder.layers, kept.heads, kept.units)):
        numbers = _head_numbers(encoder, layer)
        removed = sorted(set(numbers) - {numbers[position] for position in heads})
        if removed:
            transformer.prune_heads({number: removed})
        if len(units) < before[number].units:
            _keep_entries(layer, parts.units_in, units, dim=0)
            _keep_entries(layer, parts.units_out, units, dim=1)
    setattr(transformer.config, parts.width, len(kept.units[0]))
    model.runner.forget()


def config_changes(encoder: LayeredEncoder) -> Dict[str, Any]:
    """Return the entries of a pruned transformer's config that pruning changed, as JSON."""
    config = encoder.transformer.config
    pruned = {str(layer): sorted(heads) for layer, heads in sorted(config.pruned_heads.items())}
    width = PRUNABLE[config.model_type].width
    return {"pruned_heads": pruned, width: getattr(config, width)}


@contextmanager
def gated(
    encoder: LayeredEncoder, heads: Sequence[Tensor], units: Sequence[Tensor]
) -> Iterator[None]:
    """Multiply the outputs of heads and feed-forward units by gates, within the block.

    # Parameters

    heads : `Sequence[Tensor]`
        One tensor a layer, of shape (rows, heads of the layer), or (1, heads) for all rows.
    units : `Sequence[Tensor]`
        One tensor a layer, of shape (rows, units) or (1, units).
    """
    parts = PRUNABLE[encoder.transformer.config.model_type]
    hooks = []
    try:
        for layer, *gates in zip(encoder.layers, heads, units):
            for path, gate in zip((parts.heads_out, parts.units_out), gates):
                linear = layer.get_submodule(path)
                hooks.append(linear.register_forward_pre_hook(partial(_through_gate, gate)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _through_gate(gate: Tensor, _: torch.nn.Module, inputs: Tuple[Tensor, ...]) -> Tuple[Tensor]:
    states = inputs[0]  # (rows, tokens, parts of one size side by side)
    size = states.size(-1) // gate.size(-1)
    return (states * gate.repeat_interleave(size, dim=-1)[:, None],)


def _head_numbers(encoder: LayeredEncoder, layer: torch.nn.Module) -> List[int]:
    """Return the heads that a layer has, by their numbers before any pruning."""
    parts = PRUNABLE[encoder.transformer.config.model_type]
    pruned: Any = layer.get_submodule(parts.attention).pruned_heads
    return [n for n in range(encoder.transformer.config.num_attention_heads) if n not in pruned]


def _keep_entries(layer: torch.nn.Module, path: str, entries: List[int], dim: int) -> None:
    parent, _, name = path.rpartition(".")
    linear: Any = layer.get_submodule(path)
    smaller = prune_linear_layer(linear, torch.tensor(entries), dim=dim)
    setattr(layer.get_submodule(parent), name, smaller)


@contextmanager
def _loss_over_all_exits(model: MultiExitClassifier) -> Iterator[None]:
    """Have the model compute its loss over all exits in evaluation mode, float32, with gradients.

    After the block the model is as before.
    """
    training, always_run_all_exits = model.training, model.always_run_all_exits
    dtype, objective = model.runner.dtype, model.objective
    model.objective = LossOverAllExits(objective)
    model.eval()
    model.always_run_all_exits = True
    model.use_number_format("float32")
    try:
        with torch.enable_grad():
            yield
    finally:
        model.objective = objective
        model.use_number_format(dtype)
        model.always_run_all_exits = always_run_all_exits
        model.train(training)
        model.get_metrics(reset=True)
