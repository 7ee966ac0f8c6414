"""Run the code blocks of README.md and docs/, as a reader would, and compare the outputs shown.

A `sh` block is run as it stands. A `python` block is run too, or written to the file that its
title names. A `text` block right behind one of them is its standard output. Blocks of other
languages, or of none, are not run: they install, download or take hours.

`python -m tests.manual PAGE...` runs pages, or the notebook, and writes the outputs that they show anew.
"""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional

from tests.forks import serve

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))

_FENCE = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)


@dataclass
class Block:
    """A fenced block of a page.

    # Parameters

    language : `str`
        Empty where none is named.
    title : `str`, optional
        The name of the file that the block is.
    code : `str`
    start, end : `int`
        Where the code stands in the page.
    """

    language: str
    title: Optional[str]
    code: str
    start: int
    end: int


@dataclass
class Step:
    """A block to run, and the block with the output that the page shows, if it does."""

    block: Block
    shown: Optional[Block] = None


def blocks(page: Path) -> List[Block]:
    """Return all fenced blocks of a page, in order."""
    found = _FENCE.finditer(page.read_text(encoding="utf-8"))
    return [
        Block(m["language"], m["title"], m["code"], m.start("code"), m.end("code")) for m in found
    ]


def steps(page: Path) -> List[Step]:
    """Return what is to be run of a page, in order."""
    made: List[Step] = []
    previous: Optional[Block] = None
    for block in blocks(page):
        if block.language in ("sh", "python"):
            made.append(Step(block))
        elif block.language == "text":
            assert previous and previous.language in ("sh", "python"), f"{page}: output of nothing"
            made[-1].shown = block
        previous = block
    return made


def make_workspace(folder: Path) -> None:
    """Make a folder look like the top of a clone, with an `out/` of its own."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    for name in ("training_config", "fixtures", "benchmarks", "sledgehammer", ".allennlp_plugins"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(ROOT / name)


def environment(workspace: Path) -> Dict[str, str]:
    """Return the environment of a reader's shell; executables in the workspace's `bin` come first."""
    binaries = [str(workspace / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        **os.environ,
        "PATH": os.pathsep.join(binaries),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{workspace}",
        "TOKENIZERS_PARALLELISM": "false",
        # Sums of several threads round differently, and training goes another way then.
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }


def run(step: Step, workspace: Path) -> str:
    """Run one block in the workspace and return its standard output.

    # Raises

    `AssertionError` with the end of its standard error if it fails.
    """
    block = step.block
    if block.title:
        (workspace / block.title).write_text(block.code, encoding="utf-8")
        return ""
    command = {
        "sh": ["bash", "-euo", "pipefail", "-c", block.code],
        "python": [sys.executable, "-c", block.code],
    }[block.language]
    done = subprocess.run(
        command, cwd=workspace, env=environment(workspace), capture_output=True, text=True
    )
    assert done.returncode == 0, f"{block.code}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def likeness(output: str) -> List[str]:
    """Return what must be the same in two runs.

    That is all but numbers, the labels of the quickstart's model, which learns a little differently
    on another processor, widths of tables and blank lines.
    """
    text = re.sub(r"[+-]?\d+(\.\d+)?(e-?\d+)?", "#", output)
    text = re.sub(r"\b(pos|neg)\b", "LABEL", text)
    text = re.sub(r"[ \t]+", " ", re.sub(r"-{2,}", "--", text))
    return [line.strip() for line in text.splitlines() if line.strip()]


def refresh(page: Path, workspace: Path) -> List[str]:
    """Run a page and replace the outputs that it shows; what fails keeps its old one.

    # Returns

    The failures.
    """
    outputs: Dict[str, str] = {}
    failures: List[str] = []
    for step in steps(page):
        try:
            outputs[step.block.code] = run(step, workspace)
        except AssertionError as error:
            failures.append(f"{page}: {error}")
    # The page may have been edited meanwhile.
    text = page.read_text(encoding="utf-8")
    for step in reversed(steps(page)):
        if step.shown and step.block.code in outputs:
            lines = [line.rstrip() for line in outputs[step.block.code].strip("\n").splitlines()]
            text = text[: step.shown.start] + "\n".join(lines) + "\n" + text[step.shown.end :]
    page.write_text(text, encoding="utf-8")
    return failures


def refresh_notebook(notebook: Path, workspace: Path) -> None:
    """Run a notebook and keep its outputs."""
    import nbformat
    from nbclient import NotebookClient

    os.environ.update(environment(workspace))
    content = nbformat.read(notebook, as_version=4)
    NotebookClient(content, timeout=600, resources={"metadata": {"path": str(workspace)}}).execute()
    for cell in content.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(content, notebook)


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and images, code aside."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(r"`[^`\n]*`", "", text)
    yield from re.findall(r"\]\(([^)\s]+)\)", text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.manual", description=__doc__)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--workspace", type=Path, default=ROOT / "out/manual")
    arguments = parser.parse_args()
    workspace = arguments.workspace.resolve()
    make_workspace(workspace)
    failures: List[str] = []
    stop = serve(workspace / "bin")
    try:
        for page in arguments.pages:
            if page.suffix == ".ipynb":
                refresh_notebook(page, workspace)
            else:
                failures += refresh(page.resolve(), workspace)
    finally:
        stop()
    sys.exit("\n\n".join(failures) or None)


if __name__ == "__main__":
    main()
