"""Learning from a teacher."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.models import load_archive

from sledgehammer.objectives import DistillationObjective, ExitBatch
from sledgehammer.objectives.base import divergence, exit_losses
from tests.tiny_training import train


@pytest.fixture
def objective(tiny_archive: Path) -> DistillationObjective:
    made = DistillationObjective(str(tiny_archive), temperature=3.0, weight=0.25)
    made.begin(["negative", "positive"], str(tiny_archive.parent))
    return made


def batch_for(label: torch.Tensor) -> ExitBatch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 100, (len(label), 6), generator=generator)
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}
    logits = torch.randn((len(label), 2, 2), generator=generator, requires_grad=True)
    return ExitBatch(logits, label, tokens, [0, 1], True)


def test_loss_is_made_of_labels_and_teacher(
    objective: DistillationObjective, tiny_archive: Path
) -> None:
    batch = batch_for(torch.tensor([0, 1, 1]))
    teacher: Any = load_archive(tiny_archive).model.eval()
    order = [teacher.labels.index(name) for name in ("negative", "positive")]
    with torch.no_grad():
        wanted = teacher.runner.run_all_exits(batch.tokens).logits[:, -1][:, order]
    soft = sum(divergence(wanted / 3, batch.logits[:, i] / 3).mean() for i in (0, 1))
    expected = 0.75 * exit_losses(batch).sum() + 0.25 * 9 * soft
    torch.testing.assert_close(objective.loss(batch), expected)


def test_rows_without_a_label_learn_from_the_teacher(objective: DistillationObjective) -> None:
    batch = batch_for(torch.full((3,), -1))
    objective.loss(batch).backward()
    assert batch.logits.grad is not None and batch.logits.grad.any()


def test_the_teacher_does_not_learn(objective: DistillationObjective) -> None:
    objective.loss(batch_for(torch.tensor([0, 1, 1]))).backward()
    assert all(weight.grad is None for weight in objective._model.parameters())


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


@pytest.mark.parametrize("arguments,problem", [
    ({"temperature": 0.0}, "temperature must be positive"),
    ({"weight": 1.5}, "weight must be between 0 and 1"),
])  # fmt: skip
def test_bad_arguments(arguments: "dict[str, float]", problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        DistillationObjective("a.tar.gz", **arguments)


def test_missing_teacher(tmp_path: Path) -> None:
    objective = DistillationObjective(str(tmp_path / "none.tar.gz"))
    with pytest.raises(ConfigurationError, match="cannot load the teacher .*none.tar.gz"):
        objective.begin(["negative", "positive"], str(tmp_path))


def test_teacher_of_other_labels(tiny_archive: Path) -> None:
    objective = DistillationObjective(str(tiny_archive))
    with pytest.raises(ConfigurationError, match="has the labels .*, the student .*'yes'"):
        objective.begin(["no", "yes"], str(tiny_archive.parent))


def test_teacher_with_another_tokenizer(tiny_archive: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_archive.parent / "transformer", tmp_path / "transformer")
    file = tmp_path / "transformer/tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"]["neverheardof"] = len(content["model"]["vocab"])
    file.write_text(json.dumps(content))
    objective = DistillationObjective(str(tiny_archive))
    with pytest.raises(ConfigurationError, match="another tokenizer than the student"):
        objective.begin(["negative", "positive"], str(tmp_path))


def test_training_needs_the_callback() -> None:
    with pytest.raises(ConfigurationError, match="'sledgehammer_objective'.*callbacks"):
        DistillationObjective("a.tar.gz").loss(batch_for(torch.tensor([0])))
