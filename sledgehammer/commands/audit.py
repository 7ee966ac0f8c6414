"""Run `allennlp audit`: how far do small changes to a text push it to deeper exits?"""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import label_indices
from sledgehammer.analysis.plots import IMAGES, check_plot
from sledgehammer.analysis.slowdown import Effort
from sledgehammer.commands.audit_kinds import KINDS, changes_of
from sledgehammer.commands.audit_report import examples, plot, print_examples, print_report
from sledgehammer.commands.audit_run import Auditor, audited_engine
from sledgehammer.commands.base import ArchiveCommand, rows_at, use_setting, write_json
from sledgehammer.commands.titles import picture_title
from sledgehammer.model.archives import open_archive
from sledgehammer.support.arguments import natural_number, positive_float, positive_int
from sledgehammer.support.console import print_anything
from sledgehammer.support.files import check_writable


@Subcommand.register("audit")
class Audit(ArchiveCommand):
    """Measure how far small changes to texts push them to deeper exits, and what limits that.

    Typos, similar words by the model's own embeddings and appended words are searched for by what
    a client sees: the exit layer and the confidence of the answer.
    """

    example = "allennlp audit out/sst_int8 dev.txt --rows 200 --output audit.json --plot audit.svg --show 3"

    second = (
        "data",
        "texts, as the archive's reader takes them; labels are used where there are any",
    )

    def add_arguments(self, subparser: argparse.ArgumentParser) -> None:
        subparser.add_argument(
            "--threshold", "--setting", type=float, metavar="T", dest="setting",
            help="the threshold, or value of the policy's own setting, to use instead of the archive's",
        )  # fmt: skip
        _add_search(subparser.add_argument_group("the search"))
        subparser.add_argument(
            "--time", action="store_true", help="also time the texts, before and after, each alone"
        )
        subparser.add_argument(
            "--deadline", type=positive_float, metavar="MS",
            help="with --time: also time them with this deadline, in milliseconds (default: the time "
            "within which 95%% of the unchanged texts are answered)",
        )  # fmt: skip
        subparser.add_argument("--output", type=Path, metavar="FILE.json", help="all figures")
        subparser.add_argument(
            "--plot", type=Path, metavar=f"FILE{'|'.join(IMAGES)}", help="where texts leave"
        )
        subparser.add_argument(
            "--show", type=natural_number, default=0, metavar="N",
            help="show the N texts that are slowed down most, on the terminal and in FILE.json; "
            "otherwise no text appears anywhere",
        )  # fmt: skip

    def run(self, arguments: argparse.Namespace) -> None:
        if arguments.deadline and not arguments.time:
            raise ConfigurationError("--deadline needs --time")
        if arguments.output:
            check_writable(arguments.output, [".json"])
        if arguments.plot:
            check_plot(arguments.plot, pages=False)
        opened = open_archive(arguments.archive, arguments.cuda_device, arguments.overrides)
        use_setting(arguments.setting, opened.model)
        rows = rows_at(arguments.data, arguments, opened.reader, labelled=False)[: arguments.rows]
        label_indices(opened.model, rows)  # raises for labels that the model does not know
        engine = audited_engine(opened)
        changes = changes_of(arguments.kinds, opened, arguments.archive, engine, rows)
        auditor = Auditor(engine, rows, arguments.batch_size)
        effort = Effort(arguments.queries, arguments.changes)
        auditor.search(changes, effort, arguments.seed)
        report: Dict[str, Any] = {
            "archive": arguments.archive, "data": arguments.data, "seed": arguments.seed,
            **auditor.report(effort),
        }  # fmt: skip
        if arguments.time:
            report["time"] = auditor.times(arguments.deadline)
        shown = examples(auditor, arguments.show)
        if shown:
            report["examples"] = shown
        _write_files(report, auditor, arguments, picture_title(
            arguments.archive, opened, arguments.data, len(rows), arguments.data_format is not None
        ))  # fmt: skip
        print_anything()
        print_report(report)
        print_examples(shown)


def _add_search(group: Any) -> None:
    group.add_argument(
        "--kinds", nargs="+", choices=KINDS, metavar="KIND",
        help=f"kinds of changes, of {', '.join(KINDS)} (default: all that the model allows)",
    )  # fmt: skip
    group.add_argument(
        "--queries", type=positive_int, default=Effort.queries, metavar="N",
        help="changed versions of a text that are run, for each kind (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--changes", type=positive_int, default=Effort.changes, metavar="N",
        help="changes that a version may have (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--rows", type=positive_int, metavar="N", help="take only the first N rows of DATA"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")


def _write_files(
    report: Dict[str, Any], auditor: Auditor, arguments: argparse.Namespace, title: str
) -> None:
    files: List[Path] = []
    if arguments.output:
        write_json(report, arguments.output)
        files.append(arguments.output)
    if arguments.plot:
        plot(auditor, arguments.plot, title)
        files.append(arguments.plot)
    for file in files:
        print(f"wrote {file}", file=sys.stderr)
