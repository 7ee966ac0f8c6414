"""Quantise a graph to int8 with a scale for each token, in standard operators.

One scale for a whole batch makes a text's answer depend on its neighbours and on the padding. Here
each token has a scale of its own, computed from its largest absolute value, so that a text's
answer depends on the text alone. Three things make that as fast as one scale for a batch:

- Query, key and value share one quantised input. The products already scale their sums by channel
  and turn them into floats, so that only the multiplication by the token's scale is an extra pass.
- GELU is never below -0.17: its outputs need no minimum, and use nearly all of the 8 bits.
- Layer normalisation is written as `InstanceNormalization` over tokens. Of the operators of ONNX
  Runtime that can do it, this one uses vector instructions (0.5 nanoseconds for a number on an
  AVX2 processor; `SkipLayerNormalization` takes 6).

Integer products are exact in any order, and the other operators treat each token by itself,
whatever stands beside it. Only attention looks at several tokens, and there padding adds exact
zeros. `allennlp export --verify` tests this on your machine.
"""

from pathlib import Path
from typing import Any, Dict, Optional, Set, Tuple

import numpy as np
from numpy import ndarray

from sledgehammer.engine.runtimes import HEADS
from sledgehammer.export.graph_writer import MICROSOFT, GraphWriter

LARGEST_WEIGHT = 64
"""Weights are in [-64, 64]. Processors without VNNI add two products of an activation (at most 255)
and a weight in 16 bits, which hold at most 2 * 255 * 64."""

MIDDLE = 128
"""The 8-bit number that stands for an activation of 0: the fast kernels take unsigned numbers."""

GELU_MIDDLE = 16
"""The same for outputs of GELU, which need few steps below 0."""

LOWEST_GELU = 0.1701
"""GELU is never below minus this."""

GELUS = {"BiasGelu", "Gelu", "FastGelu"}

ALIGNED = 16
"""Hidden sizes must be multiples of this: otherwise the order in which the normalisation adds
numbers depends on where a token's vector begins in memory."""


def write_rowwise(graph: Path, target: Path) -> int:
    """Quantise a fused graph.

    The heads stay in float32: they cost next to nothing, and the decisions depend on them. So does
    the pooler, which looks at only one token of a text.

    # Returns

    How many products are now in int8.
    """
    import onnx

    model = onnx.load(str(graph))
    rewriting = _Rewriting(model.graph)
    rewriting.run()
    onnx.save(model, str(target))
    return rewriting.products


def _of_tokens(graph: Any) -> Set[str]:
    """Return the names of the tensors that hold more of the graph's inputs than their shapes."""
    names = {tensor.name for tensor in graph.input}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and not names.isdisjoint(node.input):
            names.update(node.output)
    return names


def quantised_weights(weights: ndarray) -> Tuple[ndarray, ndarray]:
    """Return (inputs, outputs) weights in int8, and the scale of each output in float32."""
    scales = np.abs(weights).max(axis=0) / LARGEST_WEIGHT
    scales[scales == 0] = 1.0
    rounded = np.rint(weights / scales).clip(-LARGEST_WEIGHT, LARGEST_WEIGHT)
    return rounded.astype(np.int8), scales.astype(np.float32)


class _Quantised:
    """Name a tensor's values in 8 bits, and the scales of its tokens, of shape (1, tokens, 1)."""

    def __init__(self, values: str, scales: str, middle: int) -> None:
        self.values = values
        self.scales = scales
        self.middle = middle


class _Rewriting(GraphWriter):
    """Rewrite the nodes of a graph, in order.

    Between rewritten nodes the tokens of all rows stand one after the other: a tensor (rows,
    tokens, size) of the old graph is (1, rows * tokens, size). `_flat` and `_need` convert one
    into the other, where a node asks for it.
    """

    def __init__(self, graph: Any) -> None:
        super().__init__(graph)
        self.products = 0
        self._flattened: Dict[str, str] = {}
        self._quantised: Dict[str, _Quantised] = {}
        self._shared: Dict[str, str] = {}
        self._of_tokens = _of_tokens(graph)

    def run(self) -> None:
        """Rewrite the nodes that have a handler, and keep the others."""
        handlers = {
            "Attention": self._attention,
            "MatMul": self._matmul,
            "SkipLayerNormalization": self._normalisation,
            "BiasGelu": self._gelu,
        }
        for node in list(self._graph.node):
            handler = handlers.get(node.op_type)
            if handler is None or not handler(node):
                self._keep(node)
        for output in self._graph.output:
            self._need(output.name)
        self._replace()

    # The handlers: each returns whether it could rewrite the node.

    def _matmul(self, node: Any) -> bool:
        weights = self._values(node.input[1])
        if weights is None or weights.ndim != 2 or node.name.startswith(HEADS):
            return False
        if node.input[0] not in self._of_tokens:
            return False  # such as DeBERTa's embeddings of distances, which are no rows of tokens
        quantised = self._quantise(self._flat(node.input[0], weights.shape[0]), node.input[0])
        self._flattened[node.output[0]] = self._product(quantised, node.input[1], weights, node)
        return True

    def _attention(self, node: Any) -> bool:
        """Split a node that projects and attends into three products and one attention."""
        from onnx import helper

        tokens, weights_name, bias, mask, past, relative, *more = [*node.input, *[""] * 6][:9]
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        known = ("num_heads", "mask_filter_value", "scale")
        kept = {name: value for name, value in attributes.items() if name in known}
        weights = self._values(weights_name)
        unknown = {name for name, value in attributes.items() if name not in known and value}
        if weights is None or past or any(more) or unknown or len(node.output) > 1:
            return False
        size = weights.shape[1] // 3
        quantised = self._quantise(self._flat(tokens, weights.shape[0]), tokens)
        whole = _Quantised(
            self._reshaped(quantised.values), self._reshaped(quantised.scales), quantised.middle
        )
        projected = [
            self._product(whole, f"{weights_name}_{i}", weights[:, i * size : (i + 1) * size], node)
            for i in range(3)
        ]
        inputs = [*projected, bias, mask, relative]
        while not inputs[-1]:
            inputs.pop()
        for name in inputs[3:]:
            self._need(name)
        attention = helper.make_node(
            "MultiHeadAttention", inputs, list(node.output), node.name, domain=MICROSOFT, **kept
        )
        self._add(attention)
        return True

    def _normalisation(self, node: Any) -> bool:
        values, skip, gamma, beta, bias = [*node.input, ""][:5]
        scale = self._values(gamma)
        if scale is None or len(scale) % ALIGNED or any(node.output[1:]) or not beta:
            return False
        from onnx import helper

        epsilon = next(helper.get_attribute_value(a) for a in node.attribute if a.name == "epsilon")
        size = len(scale)
        values = self._flat(values, size)
        if bias:
            values = self._node("Add", [values, bias], node)
        added = self._node("Add", [values, self._flat(skip, size)], node)
        normal = self._node(
            "InstanceNormalization",
            [added, self._each_token(1.0), self._each_token(0.0)], node, epsilon=epsilon,
        )  # fmt: skip
        scaled = self._node("Mul", [normal, gamma], node)
        self._flattened[node.output[0]] = self._node("Add", [scaled, beta], node)
        return True

    def _gelu(self, node: Any) -> bool:
        values, bias = node.input
        if values not in self._flattened:
            return False
        activated = self._node("BiasGelu", [self._flattened[values], bias], node, domain=MICROSOFT)
        self._flattened[node.output[0]] = activated
        return True

    # The parts that the handlers put together.

    def _quantise(self, flat: str, old_name: str) -> _Quantised:
        """Quantise a tensor, which the old graph calls `old_name`, with a scale for each token."""
        if flat in self._quantised:
            return self._quantised[flat]
        maker = self._makers.get(old_name)
        if maker is not None and maker.op_type in GELUS:
            middle = GELU_MIDDLE
            largest = self._node("ReduceMax", [flat], maker, axes=[-1], keepdims=1)
            scales = self._node("Mul", [largest, self._number(1 / (255 - middle))], maker)
            scales = self._node("Max", [scales, self._number(LOWEST_GELU / middle)], maker)
        else:
            middle = MIDDLE
            absolute = self._node("Abs", [flat], maker)
            largest = self._node("ReduceMax", [absolute], maker, axes=[-1], keepdims=1)
            scales = self._node("Mul", [largest, self._number(1 / (255 - middle))], maker)
        one_dimensional = self._node("Reshape", [scales, self._integers([-1])], maker)
        inputs = [flat, one_dimensional, self._each_token(np.uint8(middle))]
        values = self._node("QuantizeLinear", inputs, maker, axis=1)
        self._quantised[flat] = _Quantised(values, scales, middle)
        return self._quantised[flat]

    def _product(self, tokens: _Quantised, name: str, weights: ndarray, node: Any) -> str:
        """Multiply quantised tokens by the weights called `name`; the product is in floats."""
        self.products += 1
        # ALBERT's layers share their weights.
        if f"{name}_int8" not in self._constants:
            values, scales = quantised_weights(weights)
            self._constant(f"{name}_int8", values)
            self._constant(f"{name}_scales", scales)
        inputs = [
            tokens.values, f"{name}_int8", self._number(1.0), f"{name}_scales",
            self._constant(f"rowwise_middle_{tokens.middle}", np.uint8(tokens.middle)),
        ]  # fmt: skip
        product = self._node("MatMulIntegerToFloat", inputs, node, domain=MICROSOFT)
        return self._node("Mul", [product, tokens.scales], node)

    def _flat(self, name: str, size: int) -> str:
        """Return a tensor (rows, tokens, size) of the old graph as (1, rows * tokens, size)."""
        if name not in self._flattened:
            shape = self._integers([1, -1, size])
            self._flattened[name] = self._node("Reshape", [name, shape], self._makers.get(name))
        return self._flattened[name]

    def _reshaped(self, flat: str, whole: Optional[str] = None) -> str:
        """Return (1, rows * tokens, size) as (rows, tokens, size), called `whole` if given."""
        inputs = [flat, self._shape_of_rows()]
        return self._node("Reshape", inputs, None, outputs=[whole] if whole else None)

    def _need(self, name: str) -> None:
        """Make sure that a tensor of the old graph exists in its old shape."""
        if name in self._flattened and name in self._makers and name not in self._made:
            self._reshaped(self._flattened[name], name)

    def _keep(self, node: Any) -> None:
        for name in node.input:
            self._need(name)
        self._add(node)

    def _shape_of_rows(self) -> str:
        """Return the shape (rows, tokens, -1)."""
        if "rows" not in self._shared:
            shape = self._node("Shape", ["attention_mask"], None)
            rest = self._integers([-1])
            self._shared["rows"] = self._node("Concat", [shape, rest], None, axis=0)
        return self._shared["rows"]

    def _each_token(self, value: Any) -> str:
        """Return a constant, repeated for every token of all rows."""
        array = np.asarray([value], np.float32 if isinstance(value, float) else None)
        name = f"rowwise_{array.dtype}_{value:g}"
        if name not in self._shared:
            if "tokens" not in self._shared:
                size = self._node("Size", ["attention_mask"], None)
                self._shared["tokens"] = self._node("Reshape", [size, self._integers([1])], None)
            inputs = [self._constant(name, array), self._shared["tokens"]]
            self._shared[name] = self._node("Expand", inputs, None)
        return self._shared[name]
