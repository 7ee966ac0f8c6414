"""Run `allennlp difficulty`: rank texts by the exit that answers them."""

import argparse
import functools
import json
from pathlib import Path
from typing import Any, Dict, List, Optional

from allennlp.commands.subcommand import Subcommand
from torch import Tensor

from sledgehammer.analysis import difficulty
from sledgehammer.analysis.all_exits import ExitOutputs, replayed_answers
from sledgehammer.commands.base import (
    ArchiveCommand,
    as_json,
    open_and_run,
    print_table,
    use_setting,
)
from sledgehammer.dataset_readers.base import Row
from sledgehammer.model.archives import Opened
from sledgehammer.support.arguments import natural_number
from sledgehammer.support.console import print_anything
from sledgehammer.support.files import check_writable, replacing


@Subcommand.register("difficulty")
class Difficulty(ArchiveCommand):
    """Rank texts from easy to hard by the layer that answers them.

    The exit layer is the paper's measure of difficulty; among the texts of one exit, a higher
    confidence means an easier text. Labels are used where the data have them.
    """

    example = "allennlp difficulty out/sst/model.tar.gz dev.txt --output ranked.jsonl"

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        subparser.add_argument(
            "--output", type=Path, metavar="FILE.jsonl", help="all rows, easiest first"
        )
        subparser.add_argument(
            "--threshold", "--setting", type=float, metavar="T", dest="setting",
            help="the threshold, or value of the policy's own setting, to use instead of the archive's",
        )  # fmt: skip
        subparser.add_argument(
            "--examples",
            type=natural_number,
            default=3,
            metavar="N",
            help="examples to print of each kind",
        )

    def run(self, arguments: argparse.Namespace) -> None:
        if arguments.output:
            check_writable(arguments.output, [".jsonl"])
        opened, rows, outputs = open_and_run(
            arguments, labelled=False, check=functools.partial(use_setting, arguments.setting)
        )
        ranking = Ranking(opened, rows, outputs)
        # Write the file first: a terminal may be unable to show characters that a file can hold.
        if arguments.output:
            with replacing(arguments.output) as partial:
                lines = (json.dumps(as_json(line), ensure_ascii=False) for line in ranking.lines())
                partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        print_anything()
        ranking.print_summary(arguments.examples)


class Ranking:
    """Hold rows, the exits' answers to them, and their order from easy to hard."""

    def __init__(self, opened: Opened, rows: List[Row], outputs: ExitOutputs) -> None:
        model = opened.model
        self._fields = opened.reader.fields
        self._names = model.vocab.get_index_to_token_vocabulary(model.label_namespace)
        self._layers = model.exit_layers
        self._rows = rows
        self._tokens = outputs.tokens
        self._policy = model.policy
        probs = model.calibrated(outputs.logits)
        self._exit = replayed_answers(model, outputs).exit
        self._confidence, self._predicted = probs.max(dim=-1)
        self._correct: Optional[Tensor] = None  # (rows, exits)
        if outputs.label is not None:
            self._correct = self._predicted == outputs.label[:, None]
        self.order = difficulty.rank(self._exit, self._confidence)

    def lines(self) -> List[Dict[str, Any]]:
        """Return one object for each row, the easiest first."""
        changed_at = difficulty.changes(self._predicted, self._layers)
        return [
            self._line(rank, position, changed_at[position])
            for rank, position in enumerate(self.order.tolist(), start=1)
        ]

    def _line(self, rank: int, position: int, changed_at: List[int]) -> Dict[str, Any]:
        row, exit = self._rows[position], int(self._exit[position])
        predicted = [self._names[i] for i in self._predicted[position].tolist()]
        line: Dict[str, Any] = {"rank": rank, "row": position + 1}
        if row.metadata is not None and "id" in row.metadata:
            line["id"] = row.metadata["id"]
        line.update(zip(self._fields, row.texts))
        line.update(
            exit_layer=self._layers[exit],
            prediction=predicted[exit],
            confidence=dict(zip(self._layers, self._confidence[position].tolist())),
            predictions=dict(zip(self._layers, predicted)),
            changed_at=changed_at,
            tokens=int(self._tokens[position]),
        )
        if row.label is not None:
            line.update(label=row.label, correct=predicted[exit] == row.label)
        return line

    def print_summary(self, examples: int) -> None:
        """Print what the rows of each exit have in common, and `examples` of each kind."""
        name = self._policy.sweeps
        print(f"{len(self._rows)} rows at {name} {self._policy.swept_shown}\n")
        answered = None
        if self._correct is not None:
            answered = self._correct.gather(1, self._exit[:, None]).squeeze(1)
        classes = difficulty.classes(self._exit, self._tokens, self._layers, answered)
        print_table(
            [
                {
                    "exit layer": c.exit_layer,
                    "rows": c.rows,
                    "share": f"{c.share:.1%}",
                    "accuracy": "" if c.accuracy is None else f"{c.accuracy:.1%}",
                    "mean word pieces": "" if c.mean_tokens is None else f"{c.mean_tokens:.1f}",
                }
                for c in classes
            ]
        )
        correlation = difficulty.length_correlation(self._exit, self._tokens)
        if correlation is not None:
            print(f"\nlength and exit layer: Spearman's rank correlation {correlation:+.2f}")
        if self._correct is not None and len(self._layers) > 1:
            self._print_consistency(self._correct)
        for kind, positions in difficulty.examples(self.order, examples).items():
            if positions:
                print(f"\n{kind}:")
            for position in positions:
                print(f"  {self._example(position)}")

    def _print_consistency(self, correct: Tensor) -> None:
        print("\nonce right, right at every later exit:\n")
        rows = [
            {
                "first right at layer": c.exit_layer,
                "rows": c.first_right,
                "right ever after": f"{c.right_ever_after / c.first_right:.1%}"
                if c.first_right
                else "",
            }
            for c in difficulty.consistency(correct, self._layers)
        ]
        print_table(rows)

    def _example(self, position: int) -> str:
        row, exit = self._rows[position], int(self._exit[position])
        prediction = self._names[int(self._predicted[position, exit])]
        text = " / ".join(row.texts)
        excerpt = text if len(text) <= 100 else text[:97] + "..."
        correction = "" if row.label in (None, prediction) else f", but it is {row.label}"
        return (
            f"layer {self._layers[exit]}, {prediction} "
            f"({float(self._confidence[position, exit]):.2f}){correction}: {excerpt}"
        )
