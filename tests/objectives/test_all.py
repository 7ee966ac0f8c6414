"""What holds for every registered objective."""

from pathlib import Path
from typing import Any, Dict

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers import SstReader
from sledgehammer.objectives import ExitObjective, JointObjective
from tests.tiny_training import dev_logits, load, train

NAMES = ExitObjective.list_available()


def config(name: str, teacher: Path) -> Dict[str, Any]:
    return {"type": name, **({"teacher": str(teacher)} if name == "distillation" else {})}


def test_default() -> None:
    assert isinstance(ExitObjective.from_params(Params({})), JointObjective)
    assert NAMES[0] == "joint"


def test_unknown_name() -> None:
    with pytest.raises(ConfigurationError, match="nosuch"):
        ExitObjective.from_params(Params({"type": "nosuch"}))


@pytest.mark.parametrize("name", NAMES)
def test_trains_saves_and_loads(
    name: str, tmp_path: Path, tiny_archive: Path, sst_reader: SstReader
) -> None:
    """Two epochs, with signals beside; every exit learns, and the archive answers as the run."""
    metrics = train(
        tmp_path / "run",
        model__objective=config(name, tiny_archive),
        model__signals=["certainty", "depth"],
        trainer__num_epochs=2,
    )
    assert torch.isfinite(torch.tensor(metrics["best_validation_loss"]))
    model = load(tmp_path / "run")
    found = dev_logits(model, sst_reader)
    right = (found["logits"].argmax(dim=-1) == found["label"][:, None]).float().mean(dim=0)
    layers = model.exit_layers
    assert [metrics[f"best_validation_exit_{layer}_accuracy"] for layer in layers] == (
        pytest.approx(right.tolist())
    )
