"""The exit before the first layer in exported models, and in an archive's model behind their
interface: rows alone, in batches and in streams are answered as by the archive."""

import json
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sledgehammer import engine
from sledgehammer.commands.export import ExportCommand
from sledgehammer.commands.lexical import Lexical
from sledgehammer.dataset_readers import SnliReader, SstReader
from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.engine import Engine, EngineError
from sledgehammer.engine.manifest import MANIFEST, read, sealed
from sledgehammer.engine.source import Item
from sledgehammer.export.eager import eager_engine
from sledgehammer.lexical import LinearModel
from sledgehammer.model.archives import Opened, open_archive
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.policies import ConfidencePolicy, ExitPolicy, exit_shares
from tests.cli import run_command
from tests.conftest import FIXTURES, TINY_BERT
from tests.model.lexical_models import batch_of, linear_model, model_with_lexical, random_rows
from tests.model.test_lexical import all_exits, labels
from tests.tiny_training import DEV

WORDS = "a good dull film about bees , geese . warm endless funny little is".split()
texts = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)
IN_BATCHES = [name for name in ExitPolicy.list_available() if name != "budget"]


def opened_with(policy: str, pairs: bool = False, max_length: int = 16) -> Opened:
    """A model with spread-out confidences, and a reader whose longer texts are truncated."""
    model = model_with_lexical(labels(), ["certainty", "depth"])
    reader: TransformerReader = SstReader(model_name=TINY_BERT, max_length=max_length, lexical=True)
    if pairs:
        reader = SnliReader(model_name=TINY_BERT, max_length=max_length, lexical=True)
        model.lexical.linear = linear_model(texts=2)
    probs = (
        model.calibrated(all_exits(model, batch_of(random_rows(50, seed=2)))["logits"])
        if not pairs
        else None
    )
    if probs is not None:
        model.store_shares(exit_shares(probs.numpy()))
    model.policy = ExitPolicy.make({"type": policy})
    return Opened(model, reader)


def answers_of(opened: Opened, rows: List[List[str]]) -> List[Dict[str, Any]]:
    with torch.no_grad():
        return opened.model.forward_on_instances(
            opened.reader.instances([Row(row, None) for row in rows])
        )


def same(got: List[Dict[str, Any]], expected: List[Dict[str, Any]]) -> None:
    assert [a["exit_layer"] for a in got] == [int(e["exit_layer"]) for e in expected]
    for answer, other in zip(got, expected):
        assert answer["confidence"] == pytest.approx(float(other["confidence"]), abs=1e-4)
        assert answer["layer_speedup"] == pytest.approx(other["layer_speedup"])
    assert len(got) == len(expected)


@pytest.fixture(scope="module", params=IN_BATCHES)
def eager(request: pytest.FixtureRequest) -> "tuple[Opened, Engine]":
    opened = opened_with(request.param)
    return opened, eager_engine(opened)


@settings(deadline=None, max_examples=10)
@given(rows=st.lists(texts, min_size=1, max_size=9), position=st.floats(0, 1))
def test_any_policy_says_the_same(
    eager: "tuple[Opened, Engine]", rows: List[str], position: float
) -> None:
    opened, classifier = eager
    policy = opened.model.policy
    grid = policy.grid(labels=2)
    policy.swept = grid[int(position * (len(grid) - 1))]
    expected = answers_of(opened, [[row] for row in rows])
    swept = {policy.sweeps: policy.swept}
    same(classifier.predict(rows, **swept), expected)
    same([classifier.predict([row], **swept)[0] for row in rows], expected)
    items = [Item(row, settings=swept) for row in rows]
    same(list(classifier.stream(iter(items), batch_size=3, pool=True)), expected)


@settings(deadline=None, max_examples=20)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=6), threshold=st.floats(0, 1))
def test_pairs(rows: Any, threshold: float) -> None:
    opened, classifier = PAIRS
    opened.model.policy.swept = threshold
    expected = answers_of(opened, [list(row) for row in rows])
    same(classifier.predict(rows, threshold=threshold), expected)
    pooled = classifier.stream(iter(rows), threshold=threshold, batch_size=2, pool=True)
    same(list(pooled), expected)


_pairs = opened_with("confidence", pairs=True)
PAIRS = _pairs, eager_engine(_pairs)


@pytest.fixture(scope="module")
def archive(tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("lexical") / "new.tar.gz"
    run_command(
        Lexical(), str(tiny_archive), str(FIXTURES / "sst/train.txt"), "--validation", DEV,
        "-o", str(target), "--bits", "10", "--min-rows", "1", "--few-rows",
    )  # fmt: skip
    return target


@pytest.fixture(scope="module")
def exported(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for needed in ("onnx", "onnxruntime"):
        pytest.importorskip(needed)
    target = tmp_path_factory.mktemp("exported") / "engine"
    run_command(ExportCommand(), str(archive), str(target), "--verify", DEV)
    return target


@settings(deadline=None, max_examples=20)
@given(
    rows=st.lists(texts, min_size=1, max_size=8),
    thresholds=st.lists(st.floats(0, 1), min_size=8, max_size=8),
)
def test_an_exported_model_answers_as_the_archive(
    archive: Path, exported: Path, rows: List[str], thresholds: List[float]
) -> None:
    opened, classifier = _open(archive, exported)
    own = thresholds[: len(rows)]
    expected = []
    for row, threshold in zip(rows, own):
        opened.model.policy = ConfidencePolicy(threshold)
        expected += answers_of(opened, [[row]])
    same(classifier.predict(rows, own, batch_size=3), expected)
    items = [Item(row, threshold) for row, threshold in zip(rows, own)]
    same(list(classifier.stream(iter(items), batch_size=3, pool=True)), expected)


_OPEN: Dict[Path, Any] = {}


def _open(archive: Path, exported: Path) -> "tuple[Opened, Engine]":
    if archive not in _OPEN:
        _OPEN[archive] = open_archive(str(archive)), engine.load(exported)
    return _OPEN[archive]


def test_it_is_told_in_the_manifest(archive: Path, exported: Path) -> None:
    model, manifest = open_archive(str(archive)).model, read(exported)
    assert manifest.exit_layers == [-1, 0, 2, 3] and len(manifest.segments) == 3
    assert manifest.mixing == model.mixing.tolist()
    assert "lexical.npz" in manifest.files
    first = engine.load(exported).predict(["a warm film"], max_exit_layer=-1)[0]
    assert (first["exit_layer"], first["layers_run"], first["layer_speedup"]) == (-1, 0, None)
    json.dumps(first, allow_nan=False)


def test_allennlps_commands_take_it(archive: Path, exported: Path) -> None:
    from sledgehammer.analysis.all_exits import run_all_exits
    from sledgehammer.dataset_readers.json_lines import read_rows

    ours, theirs = open_archive(str(exported)), open_archive(str(archive))
    rows = read_rows(ours.reader, DEV)
    expected, got = (run_all_exits(*opened, rows) for opened in (theirs, ours))
    torch.testing.assert_close(got.logits, expected.logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        ours.model.calibrated(got.logits), theirs.model.calibrated(expected.logits),
        atol=1e-4, rtol=0,
    )  # fmt: skip
    for threshold in (0.0, 0.6, 1.0):
        ours.model.policy = theirs.model.policy = ConfidencePolicy(threshold)
        texts = [row.texts for row in rows]
        assert [a["exit_layer"] for a in answers_of(ours, texts)] == [
            a["exit_layer"] for a in answers_of(theirs, texts)
        ]
    assert ours.model.conditions().mixing == theirs.model.conditions().mixing


def test_recalibrating_fits_the_mixing(archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    target = tmp_path / "engine"
    held_out = str(FIXTURES / "sst/held_out.txt")
    run_command(ExportCommand(), str(archive), str(target), "--recalibrate", held_out, "--few-rows")
    before = open_archive(str(archive)).model
    after = open_archive(str(target)).model
    assert after.scalings != before.scalings
    assert read(target).mixing == after.mixing.tolist()


@pytest.mark.parametrize("damage", ["gone", "changed", "other labels"])
def test_a_file_that_is_not_what_was_written(exported: Path, tmp_path: Path, damage: str) -> None:
    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    file = copy / "lexical.npz"
    if damage == "gone":
        file.unlink()
        message = "lexical.npz is missing; export the model again"
    elif damage == "changed":
        file.write_bytes(file.read_bytes()[:-100])
        message = "lexical.npz has changed since it was written"
    else:
        linear_model(labels=3).save(file)
        from sledgehammer.engine.manifest import write

        write(copy, read_unchecked(copy))
        message = "is for 1 texts a row and 3 labels"
    with pytest.raises(EngineError, match=message):
        engine.load(copy)


def read_unchecked(directory: Path) -> Any:
    from sledgehammer.engine.manifest import Manifest

    content = json.loads((directory / MANIFEST).read_text())
    return Manifest(**{k: v for k, v in content.items() if k not in ("format", "sha256")})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mixing": []}, "mixing must have an entry for each exit: 4, got 0"),
        ({"mixing": [0, -1, 0, 0]}, "mixing must be numbers of at least 0"),
        ({"exit_layers": [-1]}, "exit_layers must be increasing layers"),
        ({"exit_layers": [-2, 0, 2, 3]}, "exit_layers must be increasing layers"),
        ({"exit_layers": [0, 1, 2, 3]}, "segments must have an entry for each exit: 4, got 3"),
    ],
)
def test_a_manifest_that_contradicts_itself(
    exported: Path, tmp_path: Path, changes: Dict[str, Any], message: str
) -> None:
    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    content = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(sealed({**content, **changes})))
    with pytest.raises(EngineError, match=message):
        read(copy)


def test_the_file_is_the_archives_table(archive: Path, exported: Path) -> None:
    linear = open_archive(str(archive)).model.lexical.linear
    stored = LinearModel.load(exported / "lexical.npz")
    assert stored.space == linear.space
    assert np.array_equal(stored.table, linear.table) and np.array_equal(stored.bias, linear.bias)
    assert isinstance(open_archive(str(archive)).model, MultiExitClassifier)


@pytest.fixture
def as_before() -> Iterator[None]:
    """Contenders have a process of their own, whose settings they change."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_grad_enabled(True)


def test_they_can_be_timed(archive: Path, exported: Path, as_before: None) -> None:
    from sledgehammer.benchmark.contenders import Contender, open_contender
    from sledgehammer.benchmark.profile import profile

    rows = [["a warm film"], ["dull"], ["endless , endless ."]]
    for kind, path in (("engine", exported), ("archive", archive), ("transformers", archive)):
        contender = open_contender(Contender("timed", kind, str(path)), threads=1)
        assert len(contender.lengths(rows)) == 3
        contender.run(contender.tokenise(rows))
        contender.run(contender.tokenise(rows), exits=[0, 2, 3])
    contender = open_contender(Contender("timed", "engine", str(exported)), threads=1)
    found = profile(contender.engine, contender, rows, batch_size=2, threads=1)  # type: ignore[attr-defined]
    assert len(found["segments"]) == len(found["heads"]) == 3


def test_the_full_model_of_an_archive_with_it_is_a_rival(archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from sledgehammer.export.directory import Format, export

    rival = export(
        str(archive), open_archive(str(archive)), Format("onnx", "fp32"), tmp_path,
        without_exits=True,
    )  # fmt: skip
    assert rival.lexical is None and rival.manifest.exit_layers == [3]
    assert rival.predict(["a warm film"])[0]["layers_run"] == 4
