"""Compare fixed ranges of activations with scales for each batch, in ONNX Runtime's int8.

Exports an archive both ways, with ranges measured on some rows, and compares each exit's accuracy
and the time:

    python -m benchmarks.static_int8 out/sst/model.tar.gz data/sst/dev.txt --ranges data/sst/train.txt#validation
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence

import numpy as np
import torch

ROWS_OF_RANGES = 200


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.static_int8",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("archive")
    parser.add_argument("data", help="labelled data, in the format of the archive's reader")
    parser.add_argument(
        "--ranges", required=True, metavar="DATA", help="other data, on which ranges are measured"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--timed-rows", type=int, default=60)
    arguments = parser.parse_args()

    import sledgehammer.plugin  # noqa: F401
    from sledgehammer.commands.base import print_table

    print_table(compare(arguments))


def compare(arguments: argparse.Namespace) -> List[Dict[str, str]]:
    """Return a row of the table for each of the two exports."""
    from sledgehammer.benchmark.timing import alternate
    from sledgehammer.dataset_readers.json_lines import read_rows
    from sledgehammer.engine import Engine
    from sledgehammer.engine.runtimes import OnnxSegments, usable_cores
    from sledgehammer.export.directory import Format, export, range_batches
    from sledgehammer.model.archives import open_archive

    opened = open_archive(arguments.archive)
    rows = read_rows(opened.reader, arguments.data)
    ranges = range_batches(opened, read_rows(opened.reader, arguments.ranges), ROWS_OF_RANGES)
    with tempfile.TemporaryDirectory() as folder:
        dynamic = export(arguments.archive, opened, Format("onnx", "int8-dynamic"), Path(folder))
        files = write_static(opened.model, dynamic.manifest.inputs, ranges, Path(folder))
        fixed = OnnxSegments(files, usable_cores(), "int8-dynamic")
        engines = {
            "dynamic": dynamic,
            "static": Engine(dynamic.manifest, dynamic.tokenizer, fixed),
        }
        known = {label: i for i, label in enumerate(dynamic.manifest.labels)}
        label = np.array([known[str(row.label)] for row in rows])
        tokens = [dynamic.tokenizer.batch(dynamic.tokenizer.encode([_text(r)])) for r in rows]
        runs = {
            name: _runner(engine, tokens[: arguments.timed_rows])
            for name, engine in engines.items()
        }
        times = alternate(runs, arguments.rounds)
        table = []
        for name, engine in engines.items():
            logits = np.concatenate([engine.run_all_exits(row)[0] for row in tokens])
            right = (logits.argmax(axis=-1) == label[:, None]).mean(axis=0)
            ratio = times["dynamic"].ratio(times[name])
            cells = {f"exit {i}": f"{r:.1%}" for i, r in enumerate(right)}
            low, high = ratio.quartiles
            time = f"{ratio.median:.2f}x ({low:.2f} to {high:.2f})"
            table.append({"activations": name, **cells, "time, all segments": time})
    return table


def write_static(
    model: Any, inputs: List[str], ranges: List[Dict[str, torch.Tensor]], folder: Path
) -> List[Path]:
    """Write the model's segments with fixed ranges, which are measured on the given batches."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    from sledgehammer.export.directory import random_tokens
    from sledgehammer.export.onnx import fuse, head_nodes, quietly, write_graph
    from sledgehammer.export.segments import segments_of, walk

    config = model.encoder.transformer.config
    traced_rows = {name: values[:3] for name, values in random_tokens(model, inputs).items()}
    files = []
    for segment, batches in walk(segments_of(model, inputs), [traced_rows, *ranges]):
        traced, fused = folder / "traced.onnx", folder / "fused.onnx"
        write_graph(segment, batches[0], traced)
        fuse(traced, fused, config.num_attention_heads, config.hidden_size)
        files.append(folder / f"static_{segment.head.layer}.onnx")
        with quietly():
            quantize_static(
                str(fused),
                str(files[-1]),
                Reader(segment.inputs, batches[1:]),
                per_channel=True,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["MatMul", "Attention", "Gemm"],
                nodes_to_exclude=head_nodes(fused),
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
    return files


class Reader:
    """Give the quantiser one batch after the other."""

    def __init__(self, names: Sequence[str], batches: Sequence[Dict[str, torch.Tensor]]) -> None:
        self._batches: Iterator[Dict[str, np.ndarray]] = iter(
            [{name: batch[name].numpy() for name in names} for batch in batches]
        )

    def get_next(self) -> "Dict[str, np.ndarray] | None":
        """Return the next batch, or `None` after the last."""
        return next(self._batches, None)


def _text(row: Any) -> Any:
    return row.texts[0] if len(row.texts) == 1 else tuple(row.texts)


def _runner(engine: Any, tokens: Sequence[Any]) -> Callable[[], None]:
    def run() -> None:
        for row in tokens:
            engine.run_all_exits(row)

    return run


if __name__ == "__main__":
    main()
