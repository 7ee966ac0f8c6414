"""Replace the nodes and constants of an ONNX graph."""

from typing import Any, Dict, List, Optional, Sequence, Set

import numpy as np
from numpy import ndarray

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


class GraphWriter:
    """Collect new nodes, which then replace those of a graph.

    # Parameters

    graph : `onnx.GraphProto`
        Changed in place by `_replace`.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._constants: Dict[str, Any] = {c.name: c for c in graph.initializer}
        self._makers: Dict[str, Any] = {name: node for node in graph.node for name in node.output}
        self._nodes: List[Any] = []
        self._made: Set[str] = set()
        self._count = 0

    def _replace(self) -> None:
        """Give the graph the collected nodes, and only the constants that they use."""
        graph = self._graph
        del graph.node[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        kept = [c for name, c in self._constants.items() if name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        # The recorded shapes are those of the old nodes.
        del graph.value_info[:]

    def _add(self, node: Any) -> None:
        self._nodes.append(node)
        self._made.update(node.output)

    def _number(self, value: float) -> str:
        return self._constant(f"rowwise_{value:.9g}", np.float32(value))

    def _integers(self, values: Sequence[int]) -> str:
        name = "rowwise_shape_" + "_".join(map(str, values))
        return self._constant(name, np.array(values, np.int64))

    def _constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _values(self, name: str) -> Optional[ndarray]:
        from onnx import numpy_helper

        constant = self._constants.get(name)
        return None if constant is None else numpy_helper.to_array(constant)

    def _node(
        self,
        operator: str,
        inputs: List[str],
        near: Any,
        outputs: Optional[List[str]] = None,
        **attributes: Any,
    ) -> str:
        """Add a node with one output, named after the old node that it replaces a part of."""
        from onnx import helper

        self._count += 1
        prefix = near.name if near is not None and near.name else "/rowwise"
        name = f"{prefix}/{operator}_{self._count}"
        outputs = outputs or [f"{name}_output"]
        self._add(helper.make_node(operator, inputs, outputs, name, **attributes))
        return outputs[0]
