"""Split a model into a chain of segments, one for each exit."""

import copy
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor
from transformers import AutoModel

from sledgehammer.dataset_readers.base import TransformerReader
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.encoder import LayeredEncoder, Pooling
from sledgehammer.network.exit_head import ExitHead
from sledgehammer.network.families import LayerInput
from sledgehammer.network.signals import CERTAINTY, DEPTH, DepthHead

STATES = ["hidden", "attention_mask", "pooled"]
"""What a segment takes from the one before it."""

TOKEN_ARRAYS = {"input_ids", "attention_mask", "token_type_ids", "hidden"}
"""Arrays with a column for each word piece."""


class _Certainty(torch.nn.Module):
    """Compute a head's certainty in a module, since graphs name operators after their modules."""

    def __init__(self, head: ExitHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, states: Tensor) -> Tensor:
        """See `ExitHead.certainty`."""
        return self.head.certainty(states)


class Segment(torch.nn.Module):
    """Run the layers above one exit up to the next one, and the head of that next exit.

    # Parameters

    encoder : `LayeredEncoder`
    pool : `Pooling`
    head : `ExitHead`
    first_layer : `int`
        The lowest layer; 0 for the first segment, which begins with the embeddings.
    inputs : `Sequence[str]`
        Names of the arguments of `forward`.
    is_last : `bool`
        Whether no segment follows, so that no states are returned.
    signals : `Sequence[str]`, optional
        The signals to compute: `certainty` at each exit, `depth` in the first segment.
    depth : `DepthHead`, optional
        The head that predicts the depth.
    """

    def __init__(
        self,
        encoder: LayeredEncoder,
        pool: Pooling,
        head: ExitHead,
        first_layer: int,
        inputs: Sequence[str],
        is_last: bool,
        signals: Sequence[str] = (),
        depth: Optional[DepthHead] = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.inputs = list(inputs)
        self.outputs = ["logits"] if is_last else ["hidden_out", "pooled_out", "logits"]
        self.certainty = _Certainty(head) if CERTAINTY in signals else None
        if self.certainty is not None:
            self.outputs.append(CERTAINTY)
        if DEPTH in signals and first_layer == 0:
            self.outputs.append(DEPTH)
        self.depth = depth if DEPTH in self.outputs else None
        self._pool = pool
        self._first_layer = first_layer

    def forward(self, *arguments: Tensor) -> Tuple[Tensor, ...]:
        """Return the tensors that `outputs` names, from those that `inputs` names.

        `hidden_out` is (rows, tokens, hidden size), `pooled_out` (rows, layers so far, hidden
        size), `logits` (rows, labels), uncalibrated; `certainty` (rows,); `depth` (rows, exits).
        """
        inputs = dict(zip(self.inputs, arguments))
        signals = {}
        if self._first_layer == 0:
            state = self.encoder.start(inputs)
            pooled: List[Tensor] = []
            if self.depth is not None:
                signals[DEPTH] = self.depth(state)
        else:
            state = self.encoder.resume(inputs["hidden"], inputs["attention_mask"].bool())
            pooled = [inputs["pooled"]]
        for layer in range(self._first_layer, self.head.layer + 1):
            state = self.encoder.run_layer(layer, state)
            read = self.encoder.read(state)
            pooled.append(self._pooled(read))
        pooled_out = torch.cat(pooled, dim=1)
        states = self._states(pooled_out, read)
        if self.certainty is not None:
            signals[CERTAINTY] = self.certainty(states)
        outputs = {
            "hidden_out": state.hidden, "pooled_out": pooled_out, "logits": self.head(states),
            **signals,
        }  # fmt: skip
        return tuple(outputs[name] for name in self.outputs)

    def _pooled(self, state: LayerInput) -> Tensor:
        return self._pool(state).unsqueeze(1)

    def _states(self, pooled: Tensor, state: LayerInput) -> Tensor:
        """Return the states that the head mixes: (rows, layers so far, state size)."""
        if self.head.pool is None:
            return pooled
        return torch.stack(self.head.states(pooled.unbind(dim=1), state), dim=1)


def token_inputs(model: MultiExitClassifier, reader: TransformerReader) -> List[str]:
    """Return the names of the token arrays that the model uses."""
    encoded = reader.encode([["a"] * len(reader.fields)])[0]
    types = "token_type_ids" in encoded and model.encoder.takes_token_types
    return ["input_ids", "attention_mask", *["token_type_ids"] * types]


def segments_of(
    model: MultiExitClassifier, inputs: Sequence[str], traceable: bool = True
) -> List[Segment]:
    """Return the model's segments, lowest first, in evaluation mode.

    # Parameters

    inputs : `Sequence[str]`
        The token arrays that the first segment takes.
    traceable : `bool`, optional (default = `True`)
        Whether to copy the model to the CPU, in operations that graph optimisers know. If not, the
        segments share the model's own parts.
    """
    heads: List[Any] = list(model.exits)
    encoder, depth = model.encoder, model.depth
    if traceable:
        encoder = _traceable(encoder)
        heads = [copy.deepcopy(head).cpu() for head in heads]
        depth = None if depth is None else copy.deepcopy(depth).cpu()
    pool = encoder.pooling(model.pooling)
    segments = []
    first_layer = 0
    for number, head in enumerate(heads, start=1):
        names = inputs if first_layer == 0 else STATES
        segment = Segment(
            encoder, pool, head, first_layer, names, number == len(heads), model.policy.needs,
            depth,
        )  # fmt: skip
        segments.append(segment.eval())
        first_layer = head.layer + 1
    return segments


class FullModel(Segment):
    """Run the transformer alone, and the top exit's linear map on its last states.

    This is what a model without exits would run: a rival to compare times with.
    """

    def forward(self, *arguments: Tensor) -> Tuple[Tensor, ...]:
        """Return the logits, (rows, labels), from the tensors that `inputs` names."""
        state = self.encoder.start(dict(zip(self.inputs, arguments)))
        for layer in range(self.head.layer + 1):
            state = self.encoder.run_layer(layer, state)
        read = self.encoder.read(state)
        pooled = self._pool(read) if self.head.pool is None else self.head.pool.of(read)
        return (self.head.linear(pooled),)


def full_model_of(model: MultiExitClassifier, inputs: Sequence[str]) -> FullModel:
    """Return the model up to its last exit, without the other exits."""
    encoder = _traceable(model.encoder)
    head: Any = copy.deepcopy(model.exits[-1]).cpu()
    return FullModel(encoder, encoder.pooling(model.pooling), head, 0, inputs, is_last=True).eval()


class Examples(NamedTuple):
    """Hold the inputs of a segment: a dictionary for each batch."""

    segment: Segment
    inputs: List[Dict[str, Tensor]]


def walk(segments: Sequence[Segment], batches: List[Dict[str, Tensor]]) -> Iterator[Examples]:
    """Yield each segment with the inputs that it gets if no row stops early."""
    for segment in segments:
        yield Examples(segment, batches)
        if segment is not segments[-1]:
            batches = [_run(segment, batch) for batch in batches]


def _run(segment: Segment, batch: Dict[str, Tensor]) -> Dict[str, Tensor]:
    with torch.no_grad():
        hidden, pooled, *_ = segment(*(batch[name] for name in segment.inputs))
    return {"hidden": hidden, "attention_mask": batch["attention_mask"], "pooled": pooled}


def _traceable(encoder: LayeredEncoder) -> LayeredEncoder:
    """Return a copy with plain attention, whose pattern graph optimisers recognise."""
    config = copy.deepcopy(encoder.transformer.config)
    if hasattr(config, "_attn_implementation"):
        config._attn_implementation = "eager"
        transformer = AutoModel.from_config(config, attn_implementation="eager")
    else:
        transformer = AutoModel.from_config(config)
    has_pooler = getattr(encoder.transformer, "pooler", None) is not None
    plain = LayeredEncoder(
        transformer, encoder.num_layers, encoder.full_layers, keep_pooler=has_pooler
    )
    plain.load_state_dict({k: v.cpu() for k, v in encoder.state_dict().items()})
    return plain.eval()
