"""Time a trained archive of the study, with and without a lexical exit, against its rivals.

The lexical exit and the rivals are fitted to all training rows but the validation rows. Then
`sledgehammer benchmark` times the int8 engines of both archives, and the rivals, in one run.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from benchmarks import sections

THRESHOLDS = (0.0, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
ROWS = {"sst": 256, "ag_news": 256, "imdb": 100}
"""The texts that are timed; accuracies are of all test rows."""


def parse(arguments: "List[str] | None" = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=__doc__)
    parser.add_argument("dataset", choices=list(ROWS))
    parser.add_argument("archive", help="trained by benchmarks.study: several exits, none lexical")
    parser.add_argument("--data", help="a folder with the datasets; the official downloads if none")
    parser.add_argument("--standard", metavar="ARCHIVE", help="the standard baseline")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, help="timed texts; the default depends on the dataset")
    parser.add_argument(
        "--out", type=Path, default=Path("out/rivals"), help="what is made on the way"
    )
    return parser.parse_args(arguments)


def main() -> None:
    arguments = parse()
    folder = arguments.out / arguments.dataset
    folder.mkdir(parents=True, exist_ok=True)
    data = write_rows(arguments.dataset, arguments.data, folder)
    lexical = folder / "lexical.tar.gz"
    sledgehammer(
        "lexical", arguments.archive, data["train"], "--validation", data["validation"],
        "-o", lexical, "--force",
    )  # fmt: skip
    engines = [folder / "without-lexical", folder / "with-lexical"]
    for archive, engine in zip((arguments.archive, lexical), engines):
        sledgehammer(
            "export", archive, engine, "--precision", "int8", "--recalibrate", data["validation"],
            "--force",
        )  # fmt: skip
    report = folder / "report.json"
    standard = ["--standard", arguments.standard] if arguments.standard else []
    sledgehammer(
        "benchmark", engines[0], data["test"], "--engine", engines[1],
        "--thresholds", *THRESHOLDS, "--rival", "linear", "--rival", "static",
        "--training-data", data["train"], *standard, "--batch-sizes", 1, 32,
        "--threads", arguments.threads, "--rounds", arguments.rounds,
        "--rows", arguments.rows or ROWS[arguments.dataset], "--weights", arguments.archive, "--eager",
        "--onnx-int8", "--output", report,
    )  # fmt: skip
    content = portable(json.loads(report.read_text()), arguments.dataset)
    target = sections.RESULTS / "rivals" / f"{arguments.dataset}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=1) + "\n")
    print(target)


def sledgehammer(*arguments: Any) -> None:
    """Run one of our commands, whose data are JSON lines, in a process of its own."""
    command = [sys.executable, "-m", "sledgehammer", *map(str, arguments), "--json-lines"]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run(command, check=True, env=environment)


def write_rows(dataset: str, data: Optional[str], folder: Path) -> Dict[str, Path]:
    """Write the rows of a dataset as JSON lines: all training rows, the test rows of the study."""
    import sledgehammer.plugin  # noqa: F401
    from benchmarks.rivals.rows import labelled_rows, open_reader
    from benchmarks.study.plan import DATASETS

    reader = open_reader(dataset)
    files = {}
    for part, rows in labelled_rows(reader, dataset, data).items():
        if part == "test":
            rows = rows[: DATASETS[dataset].test_rows]
        files[part] = folder / f"{part}.jsonl"
        lines = [dict(zip(reader.fields, row.texts), label=row.label) for row in rows]
        files[part].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return files


def portable(report: Dict[str, Any], dataset: str) -> Dict[str, Any]:
    """Return a report without the paths of this machine."""
    contenders = {
        name: {**contender, "path": short(contender["path"])}
        for name, contender in report["contenders"].items()
    }
    title = f"{dataset}, {report['rows']} texts"
    return {**report, "contenders": contenders, "data": short(report["data"]), "title": title}


def short(path: str) -> str:
    """Return the last two parts of a path."""
    return path if path.startswith("(") else "/".join(Path(path).parts[-2:])


if __name__ == "__main__":
    main()
