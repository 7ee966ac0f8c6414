"""Learning from a teacher."""

import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.models import load_archive

from sledgehammer.dataset_readers import SstReader
from sledgehammer.model.archives import open_archive
from sledgehammer.network.fingerprints import row_hashes
from sledgehammer.objectives import DistillationObjective, ExitBatch, teacher
from sledgehammer.objectives.base import ReadRow, TrainingRun, divergence, exit_losses
from sledgehammer.objectives.distillation import nearest
from tests.conftest import FIXTURES, TINY_BERT
from tests.tiny_training import train

TEXTS = ["the film is good", "the worst film", "a film"]
LABELS = ["negative", "positive"]


def rows_for(reader: Any, texts: Sequence[List[str]]) -> List[ReadRow]:
    tokens = reader.tensors(reader.encode(texts))
    return [ReadRow(*row) for row in zip(row_hashes(tokens).tolist(), texts)]


def run_of(
    directory: Path,
    exit_layers: Sequence[int] = (0, 1),
    labels: Sequence[str] = LABELS,
    full_layers: int = 4,
    texts: Optional[Sequence[List[str]]] = None,
) -> TrainingRun:
    """A run whose student reads the tiny BERT's word pieces."""
    rows = rows_for(SstReader(model_name=TINY_BERT), texts or [[text] for text in TEXTS])
    return TrainingRun(
        list(labels), exit_layers, full_layers, str(directory), torch.device("cpu"), lambda: rows
    )


def batch_for(label: torch.Tensor, training: bool = True) -> ExitBatch:
    """A row of each text."""
    reader = SstReader(model_name=TINY_BERT)
    tokens = reader.tensors(reader.encode([[text] for text in TEXTS]))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((len(label), 2, 2), generator=generator, requires_grad=True)
    return ExitBatch(logits, label, tokens, [0, 1], training)


@pytest.fixture
def objective(tiny_archive: Path, tmp_path: Path) -> DistillationObjective:
    made = DistillationObjective(str(tiny_archive), temperature=3.0, weight=0.25)
    made.begin(run_of(tmp_path))
    return made


def calibrated(archive: Path, order: Sequence[str] = LABELS) -> torch.Tensor:
    """What all exits of an archive say of the texts: logits (rows, exits, labels)."""
    model, reader = open_archive(str(archive))
    tokens = reader.tensors(reader.encode([[text] for text in TEXTS]))
    with torch.no_grad():
        logits = model.runner.run_all_exits(tokens).logits / model.temperatures[:, None]
    return logits[..., [model.labels.index(label) for label in order]]


def test_loss_is_made_of_labels_and_of_the_teachers_exits(
    objective: DistillationObjective, tiny_archive: Path
) -> None:
    """Exits after 1 and 2 of 4 layers learn from those after 1 and 3: of two, the deeper."""
    batch = batch_for(torch.tensor([0, 1, 1]))
    wanted = calibrated(tiny_archive)
    soft = sum(divergence(wanted[:, i] / 3, batch.logits[:, i] / 3).mean() for i in (0, 1))
    expected = 0.75 * exit_losses(batch).sum() + 0.25 * 9 * soft
    torch.testing.assert_close(objective.loss(batch), expected)


def test_validation_has_the_same_loss(objective: DistillationObjective) -> None:
    label = torch.tensor([0, 1, 1])
    losses = [objective.loss(batch_for(label, training)) for training in (True, False)]
    torch.testing.assert_close(*losses)


def test_rows_without_a_label_learn_from_the_teacher(objective: DistillationObjective) -> None:
    batch = batch_for(torch.full((3,), -1))
    objective.loss(batch).backward()
    assert batch.logits.grad is not None and batch.logits.grad.any()


def test_labels_in_another_order(tiny_archive: Path, tmp_path: Path) -> None:
    objective = DistillationObjective(str(tiny_archive), weight=1.0, temperature=1.0)
    objective.begin(run_of(tmp_path, labels=LABELS[::-1]))
    batch = batch_for(torch.tensor([0, 1, 1]))
    wanted = calibrated(tiny_archive, LABELS[::-1])
    expected = sum(divergence(wanted[:, i], batch.logits[:, i]).mean() for i in (0, 1))
    torch.testing.assert_close(objective.loss(batch), expected)


@pytest.mark.parametrize(
    "exits, expected",
    [("depth", [0, 1, 2]), ("last", [2, 2, 2]), ({"0": 3, "2": 0, "5": 2}, [2, 0, 1])],
)
def test_which_exit_teaches_which(
    exits: Any, expected: List[int], tiny_archive: Path, tmp_path: Path
) -> None:
    """The student has 6 layers; the teacher exits after 1, 3 and 4 of 4."""
    objective = DistillationObjective(str(tiny_archive), exits=exits)
    objective.begin(run_of(tmp_path, exit_layers=[0, 2, 5], full_layers=6))
    assert objective._taught_by == expected


def test_of_two_as_near_the_deeper_teaches() -> None:
    assert nearest([0.25, 0.75, 1.0], 0.5) == 1
    assert nearest([1 / 12, 3 / 12], 2 / 12) == 1


def test_the_teacher_reads_once(
    tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text, in each run: not in steps, and not in a run that goes on."""
    read: List[int] = []
    predictions = teacher._predictions

    def counted(model: Any, reader: Any, rows: Sequence[ReadRow], device: Any) -> Any:
        read.append(len(rows))
        return predictions(model, reader, rows, device)

    monkeypatch.setattr(teacher, "_predictions", counted)
    objective = DistillationObjective(str(tiny_archive))
    objective.begin(run_of(tmp_path, texts=[[text] for text in TEXTS + TEXTS[:1]]))
    first = objective.loss(batch_for(torch.tensor([0, 1, 1])))
    again = DistillationObjective(str(tiny_archive))
    again.begin(run_of(tmp_path))
    torch.testing.assert_close(again.loss(batch_for(torch.tensor([0, 1, 1]))), first)
    assert read == [3]


def worker(rank: int, archive: str, folder: str) -> None:
    """One of two workers of a run begins: it notes what its teacher reads, and what it has then."""
    import sledgehammer.plugin  # noqa: F401  registers everything

    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    read: List[int] = []
    predictions = teacher._predictions

    def counted(model: Any, reader: Any, rows: Sequence[ReadRow], device: Any) -> Any:
        read.append(len(rows))
        return predictions(model, reader, rows, device)

    teacher._predictions = counted
    objective = DistillationObjective(archive)
    objective.begin(run_of(Path(folder)))
    assert objective._outputs is not None
    torch.save((read, objective._outputs.log_probs), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_one_of_several_workers_reads_for_all(tiny_archive: Path, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(worker, (str(tiny_archive), str(tmp_path)), nprocs=2)
    (first, expected), (second, found) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert (first, second) == ([3], [])
    torch.testing.assert_close(found, expected)


def test_another_teacher_reads_again(
    tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DistillationObjective(str(tiny_archive)).begin(run_of(tmp_path))
    kept = teacher.TeacherOutputs.load(tmp_path / teacher.FILE)
    kept._replace(source="another", log_probs=kept.log_probs + 1).save(tmp_path / teacher.FILE)
    DistillationObjective(str(tiny_archive)).begin(run_of(tmp_path))
    found = teacher.TeacherOutputs.load(tmp_path / teacher.FILE)
    torch.testing.assert_close(found.log_probs, kept.log_probs)


def test_many_rows_in_batches_are_those_alone(
    tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "BATCH", 2)
    monkeypatch.setattr(teacher, "READ_TOGETHER", 2)
    objective = DistillationObjective(str(tiny_archive), weight=1.0, temperature=1.0)
    objective.begin(run_of(tmp_path))
    assert objective._outputs is not None
    found = objective._outputs.of(batch_for(torch.tensor([0, 1, 1])).tokens)
    expected = torch.log_softmax(calibrated(tiny_archive), dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_row_that_the_teacher_has_not_read(
    objective: DistillationObjective,
) -> None:
    batch = batch_for(torch.tensor([0, 1, 1]))
    batch.tokens["input_ids"] = batch.tokens["input_ids"] + 1
    with pytest.raises(ConfigurationError, match="has not read a row of this batch"):
        objective.loss(batch)


def test_no_part_of_the_teacher_is_in_the_students_archive(
    tiny_archive: Path, tmp_path: Path
) -> None:
    shutil.copy(tiny_archive, tmp_path / "teacher.tar.gz")
    wanted = {"type": "distillation", "teacher": str(tmp_path / "teacher.tar.gz")}
    train(tmp_path / "run", model__objective=wanted, model__exit_layers=[0, 1])
    (tmp_path / "teacher.tar.gz").unlink()
    student = load_archive(tmp_path / "run/model.tar.gz").model
    assert {name.split(".")[0] for name in student.state_dict()} == {
        "encoder", "exit_shares", "exits", "seen", "temperatures"
    }  # fmt: skip


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of two layers with other word pieces: those of the tiny BERT the other way round."""
    folder = tmp_path_factory.mktemp("foreign")
    transformer = folder / "transformer"
    shutil.copytree(TINY_BERT, transformer)
    turn_vocabulary(transformer)
    train(folder / "run", dataset_reader__model_name=str(transformer), model__exit_layers=[0, 1])
    return folder / "run/model.tar.gz"


def turn_vocabulary(folder: Path) -> None:
    import json

    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary: Dict[str, int] = content["model"]["vocab"]
    special = {token["content"] for token in content["added_tokens"]}
    pieces = [piece for piece in vocabulary if piece not in special]
    turned = dict(zip(pieces, reversed([vocabulary[piece] for piece in pieces])))
    content["model"]["vocab"] = {**vocabulary, **turned}
    file.write_text(json.dumps(content))


def test_a_teacher_of_another_tokenizer_and_depth(
    foreign: Path, tiny_archive: Path, tmp_path: Path
) -> None:
    """It reads the texts with its own tokenizer, in a run of the trainer, validation rows too."""
    wanted = {"type": "distillation", "teacher": str(foreign), "exits": {"0": 0, "2": 0, "3": 1}}
    train(tmp_path / "run", model__objective=wanted)
    outputs = teacher.TeacherOutputs.load(tmp_path / "run" / teacher.FILE)
    assert outputs.exit_layers == [0, 1] and outputs.full_layers == 4
    model, reader = open_archive(str(foreign))
    student = open_archive(str(tmp_path / "run/model.tar.gz")).reader
    for name in ("train", "dev"):
        texts = [row.texts for row in student.selected_rows(str(FIXTURES / f"sst/{name}.txt"))]
        pieces, others = (r.encode(texts) for r in (student, reader))
        assert pieces != others
        with torch.no_grad():
            logits = model.runner.run_all_exits(reader.tensors(others)).logits
        expected = torch.log_softmax(logits / model.temperatures[:, None], dim=-1)
        found = outputs.of(student.tensors(pieces))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arguments,problem", [
    ({"temperature": 0.0}, "temperature must be positive"),
    ({"weight": 1.5}, "weight must be between 0 and 1"),
    ({"exits": "nearest"}, "exits must be 'depth', 'last', or a map .*'nearest'"),
    ({"exits": {}}, "exits must be 'depth'"),
    ({"exits": {"a": 1}}, "exits must be 'depth'"),
    ({"exits": [0, 1]}, "exits must be 'depth'"),
])  # fmt: skip
def test_bad_arguments(arguments: "dict[str, Any]", problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        DistillationObjective("a.tar.gz", **arguments)


@pytest.mark.parametrize(
    "exits, problem",
    [
        ({0: 0}, r"map the layers \[0\], but the student has exits after \[0, 1\]"),
        ({0: 0, 1: 1}, r"name the teacher's layers \[1\], but it has exits after \[0, 2, 3\]"),
    ],
)
def test_a_map_that_does_not_fit(
    exits: Any, problem: str, tiny_archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        DistillationObjective(str(tiny_archive), exits=exits).begin(run_of(tmp_path))


def test_missing_teacher(tmp_path: Path) -> None:
    objective = DistillationObjective(str(tmp_path / "none.tar.gz"))
    with pytest.raises(ConfigurationError, match="cannot load the teacher .*none.tar.gz"):
        objective.begin(run_of(tmp_path))
    assert not list(tmp_path.iterdir())


def test_damaged_teacher(tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_text("no archive")
    objective = DistillationObjective(str(tmp_path / "model.tar.gz"))
    with pytest.raises(ConfigurationError, match="cannot load the teacher .*model.tar.gz"):
        objective.begin(run_of(tmp_path))


def test_damaged_answers_are_read_again(tiny_archive: Path, tmp_path: Path) -> None:
    for damaged in (b"", b"no zip", b"PK\x03\x04"):
        (tmp_path / teacher.FILE).write_bytes(damaged)
        DistillationObjective(str(tiny_archive)).begin(run_of(tmp_path))
        assert len(teacher.TeacherOutputs.load(tmp_path / teacher.FILE).fingerprints) == 3


def test_teacher_of_other_labels(tiny_archive: Path, tmp_path: Path) -> None:
    objective = DistillationObjective(str(tiny_archive))
    with pytest.raises(ConfigurationError, match="has the labels .*, the student .*'yes'"):
        objective.begin(run_of(tmp_path, labels=["no", "yes"]))


def test_teacher_of_other_texts(tiny_archive: Path, tmp_path: Path) -> None:
    objective = DistillationObjective(str(tiny_archive))
    with pytest.raises(
        ConfigurationError, match=r"reads 1 text\(s\) a row \(text\), the student 2"
    ):
        objective.begin(run_of(tmp_path, texts=[["a film", "a good film"]]))


def test_training_needs_the_callback() -> None:
    with pytest.raises(ConfigurationError, match="'sledgehammer_objective'.*callbacks"):
        DistillationObjective("a.tar.gz").loss(batch_for(torch.tensor([0, 1, 1])))
