"""Record once what a trained model says of all rows of a training run, and keep it with the run."""

import hashlib
import tarfile
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError
from allennlp.common.file_utils import cached_path
from allennlp.models import load_archive
from torch import Tensor

from sledgehammer.network.encoder import TokenTensors
from sledgehammer.network.fingerprints import row_hashes
from sledgehammer.objectives.base import ReadRow, TrainingRun
from sledgehammer.support.files import replacing

FILE = "teacher_outputs.npz"
"""The name of the file of outputs in the folder of a run."""

READ_TOGETHER = 4096
"""How many rows are sorted by length before they are divided into batches."""

BATCH = 64


class TeacherOutputs(NamedTuple):
    """Hold a teacher's calibrated predictions.

    # Parameters

    source : `str`
        A digest of the teacher and of the labels' order.
    exit_layers : `List[int]`
        The teacher's layers with an exit.
    full_layers : `int`
        The layers of the teacher's full model.
    fingerprints : `Tensor`
        Shape (rows,), int64, increasing: fingerprints of the student's word pieces.
    log_probs : `Tensor`
        Shape (rows, the teacher's exits, labels), float32; the labels in the student's order.
    """

    source: str
    exit_layers: List[int]
    full_layers: int
    fingerprints: Tensor
    log_probs: Tensor

    def of(self, tokens: TokenTensors) -> Tensor:
        """Return what the teacher says of a batch: (rows, the teacher's exits, labels), on the CPU.

        # Raises

        `ConfigurationError` if it has not read one of the rows.
        """
        hashes = row_hashes(tokens)
        last = len(self.fingerprints) - 1
        positions = torch.searchsorted(self.fingerprints, hashes).clamp(max=last)
        if not torch.equal(self.fingerprints[positions], hashes):
            raise ConfigurationError(
                "the teacher has not read a row of this batch: it reads those of the run's data "
                f"paths when training begins, and keeps its answers in {FILE}; delete that file if "
                "it is of other data"
            )
        return self.log_probs[positions]

    def save(self, file: Path) -> None:
        """Write the outputs to a file, which appears only once it is complete."""
        with replacing(file) as partial, open(partial, "wb") as stream:
            np.savez(
                stream,
                source=np.array(self.source),
                exit_layers=np.array(self.exit_layers),
                full_layers=np.array(self.full_layers),
                fingerprints=self.fingerprints.numpy(),
                log_probs=self.log_probs.numpy(),
            )

    @staticmethod
    def load(file: Path) -> "TeacherOutputs":
        """Read what `save` wrote."""
        with np.load(file, allow_pickle=False) as arrays:
            return TeacherOutputs(
                str(arrays["source"]),
                arrays["exit_layers"].tolist(),
                int(arrays["full_layers"]),
                torch.from_numpy(arrays["fingerprints"]),
                torch.from_numpy(arrays["log_probs"]),
            )


def outputs_for(teacher: str, run: TrainingRun) -> TeacherOutputs:
    """Let a teacher read all rows of a run, or return what it said when the run first began.

    # Parameters

    teacher : `str`
        An archive, which may have any tokenizer, depth and exits.

    # Raises

    `ConfigurationError` if it cannot be loaded, or has other labels or other texts than the student.
    """
    source = _digest(teacher, run.labels)
    file = Path(run.directory) / FILE
    kept = _kept(file)
    if kept is not None and kept.source == source:
        return kept
    made = _read(teacher, source, run)
    made.save(file)
    return made


def _kept(file: Path) -> Optional[TeacherOutputs]:
    """Return what the file holds; `None` if it is missing or damaged: the teacher reads again."""
    try:
        return TeacherOutputs.load(file) if file.is_file() else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _digest(teacher: str, labels: Sequence[str]) -> str:
    digest = hashlib.blake2b("\n".join(labels).encode(), digest_size=16)
    try:
        path = Path(cached_path(teacher))
        for file in (path,) if path.is_file() else (path / "config.json", path / "weights.th"):
            with open(file, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        raise _not_loaded(teacher, error) from error
    return digest.hexdigest()


def _read(teacher: str, source: str, run: TrainingRun) -> TeacherOutputs:
    try:
        archive = load_archive(teacher)
    except (OSError, EOFError, KeyError, tarfile.TarError, ConfigurationError) as error:
        raise _not_loaded(teacher, error) from error
    model: Any = archive.model.eval().to(run.device)
    reader: Any = archive.validation_dataset_reader
    known = getattr(model, "labels", None)
    if known is None or set(known) != set(run.labels):
        raise ConfigurationError(
            f"the teacher {teacher!r} has the labels {known}, the student {run.labels}"
        )
    order = [known.index(label) for label in run.labels]
    read: Dict[int, Tensor] = {}
    rows = iter(Tqdm.tqdm(run.rows(), desc="the teacher reads"))
    while block := list(islice(rows, READ_TOGETHER)):
        _check_texts(teacher, reader, block[0])
        unread = list({row.fingerprint: row for row in block}.values())
        unread = [row for row in unread if row.fingerprint not in read]
        for row, log_probs in _predictions(model, reader, unread, run.device):
            read[row.fingerprint] = log_probs[:, order]
    if not read:
        raise ConfigurationError("there is no row for the teacher to read")
    fingerprints = torch.tensor(sorted(read))
    log_probs = torch.stack([read[fingerprint] for fingerprint in fingerprints.tolist()])
    return TeacherOutputs(source, model.network_layers, model.full_layers, fingerprints, log_probs)


def _predictions(
    model: Any, reader: Any, rows: Sequence[ReadRow], device: torch.device
) -> Iterator[Tuple[ReadRow, Tensor]]:
    """Yield each row with the log-probabilities of the network's exits: (exits, labels), on CPU.

    Where the teacher has a lexical exit, its logits are mixed in.
    """
    encoded = reader.encode([row.texts for row in rows])
    order = sorted(range(len(rows)), key=lambda i: len(encoded[i]["input_ids"]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        tokens = reader.tensors([encoded[i] for i in chosen])
        with torch.no_grad():
            outputs = model.runner.run_all_exits({n: t.to(device) for n, t in tokens.items()})
            if model.lexical is not None:
                pieces = reader.pieces([rows[i].texts for i in chosen])
                outputs = model.with_lexical(outputs, pieces)
            scaled = model.scaled(outputs.logits)[:, -len(model.network_layers) :]
        yield from zip((rows[i] for i in chosen), torch.log_softmax(scaled, dim=-1).cpu())


def _check_texts(teacher: str, reader: Any, row: ReadRow) -> None:
    if len(row.texts) != len(reader.fields):
        raise ConfigurationError(
            f"the teacher {teacher!r} reads {len(reader.fields)} text(s) a row "
            f"({', '.join(reader.fields)}), the student {len(row.texts)}"
        )


def _not_loaded(teacher: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"cannot load the teacher {teacher!r}: {error}")
