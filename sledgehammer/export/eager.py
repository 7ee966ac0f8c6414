"""Run an archive's model behind the interface of exported models, for streams with pools."""

from typing import List, Sequence

import torch

from sledgehammer.engine import Engine
from sledgehammer.engine.batch import Arrays
from sledgehammer.engine.runtimes import named
from sledgehammer.engine.tokenizer import Tokenizer
from sledgehammer.export.directory import describe
from sledgehammer.export.segments import Segment, segments_of, token_inputs
from sledgehammer.model.archives import Opened
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.support.owned import scratch_folder


class TorchSegments:
    """Run the layers and exits of a model, in eager PyTorch and float32.

    On a GPU, the states of the rows that go on travel to the host and back at every exit.

    # Parameters

    segments : `Sequence[Segment]`
    device : `torch.device`
    """

    def __init__(self, segments: Sequence[Segment], device: torch.device) -> None:
        self._segments: List[Segment] = list(segments)
        self._device = device

    def run(self, position: int, inputs: Arrays) -> Arrays:
        """See `engine.runtimes.Segments`."""
        segment = self._segments[position]
        tensors = [torch.from_numpy(inputs[name]).to(self._device) for name in segment.inputs]
        with torch.no_grad():
            outputs = segment(*tensors)
        return named(segment.outputs, [tensor.cpu().numpy() for tensor in outputs])


def eager_engine(opened: Opened) -> Engine:
    """Return an engine that runs an archive's model as it is, without exporting anything.

    # Parameters

    opened : `Opened`
        The model of an archive, not an exported one. The engine shares its weights, on their
        device, but ignores later changes of its policy.
    """
    model, reader = opened
    assert isinstance(model, MultiExitClassifier), "exported models have engines of their own"
    inputs = token_inputs(model, reader)
    manifest = describe(
        opened, inputs, model.policy,
        runtime="torch", precision="fp32", segments=[], source={}, versions={},
    )  # fmt: skip
    with scratch_folder() as folder:
        file = folder / "tokenizer.json"
        reader.save_tokenizer(file)
        tokenizer = Tokenizer(
            file, manifest.max_length, inputs, manifest.pad_token_id, len(manifest.fields),
            whole=manifest.has_lexical, long_texts=manifest.long_texts,
        )  # fmt: skip
    segments = segments_of(model, inputs, traceable=False)
    runtime = TorchSegments(segments, model.temperatures.device)
    lexical = None if model.lexical is None else model.lexical.linear
    return Engine(manifest, tokenizer, runtime, lexical=lexical)
