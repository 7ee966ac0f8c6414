"""Open what can be timed: exported engines, archives, and models without exits."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Protocol, Sequence

import numpy as np

from sledgehammer.engine.batch import Batch
from sledgehammer.policies import Decision, Evidence, ExitPolicy, RowSettings, SettingRange


@dataclass(frozen=True)
class Contender:
    """Describe something to time; its worker process opens it from this.

    # Parameters

    name : `str`
    kind : `str`
        `"engine"`, `"archive"` (eager, with exits), `"transformers"` (eager, without exits) or
        `"words"` (see `words`).
    path : `str`
        The path of the exported model, of the archive, or of what `WordClassifier.save` wrote.
    setting : `float`, optional
        The setting of its policy at which the contender runs; the policy's default if `None`.
    max_exit_layer : `int`, optional
        The highest layer that the policy may use; the policy's default if `None`.
    dtype : `str`, optional (default = `"float32"`)
        The number format of transformers' model.
    exit : `int`, optional (default = `-1`)
        The position of the exit at whose layer transformers' model is cut.
    overrides : `str`, optional (default = `""`)
        JSON that changes an archive's config; exported models can't be changed.
    cuda_device : `int`, optional (default = `-1`)
        The GPU that an archive runs on; -1 is the CPU, where exported models always run.
    """

    name: str
    kind: str
    path: str
    setting: Optional[float] = None
    max_exit_layer: Optional[int] = None
    dtype: str = "float32"
    exit: int = -1
    overrides: str = ""
    cuda_device: int = -1

    def as_dict(self) -> Dict[str, Any]:
        """Return the parameters, by name."""
        return asdict(self)

    def set_up(self, policy: ExitPolicy) -> None:
        """Give a policy the settings at which the contender runs."""
        if self.setting is not None:
            policy.sweep_to(self.setting)
        if self.max_exit_layer is not None:
            policy.change({"max_exit_layer": self.max_exit_layer})


class OpenContender(Protocol):
    """Run a contender within its process."""

    def tokenise(self, texts: Sequence[List[str]]) -> Any:
        """Return the input of `run` for some rows, each of one text or two."""

    def run(self, inputs: Any, exits: Optional[Sequence[int]] = None) -> None:
        """Classify rows, and return when their answers are ready.

        If `exits` is given, each row stops at the exit of that position.
        """

    def lengths(self, texts: Sequence[List[str]]) -> List[int]:
        """Return how long each row is: its word pieces, or its characters."""


def open_contender(contender: Contender, threads: int) -> OpenContender:
    """Open a contender in this process, and let it use so many threads.

    # Raises

    `EngineError` or `ConfigurationError` if it cannot be opened.
    """
    if contender.kind == "engine":
        return _Engine(contender, threads)
    if contender.kind == "words":
        return _Words(contender, threads)
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    return _Archive(contender) if contender.kind == "archive" else _Transformers(contender)


class _Engine:
    def __init__(self, contender: Contender, threads: int) -> None:
        from sledgehammer import engine

        self.directory = Path(contender.path)
        self.engine = engine.load(self.directory, threads)
        contender.set_up(self.engine.policy)

    def tokenise(self, texts: Sequence[List[str]]) -> Dict[str, Any]:
        encoded = self._encode(texts)
        inputs: Dict[str, Any] = {**self.engine.tokenizer.batch(encoded)}
        if self.engine.lexical is not None:
            inputs["pieces"] = [row.texts for row in encoded]
        return inputs

    def lengths(self, texts: Sequence[List[str]]) -> List[int]:
        return [len(row.ids) for row in self._encode(texts)]

    def run(self, inputs: Dict[str, Any], exits: Optional[Sequence[int]] = None) -> None:
        policy = self.engine.policy
        settings = policy.values
        if exits is not None:
            policy = ForcedExits()
            policy.bind(self.engine.exits)
            settings = policy.settings_for({"exit": exits}, len(exits))
        self.engine.run_until_answered(self.start(inputs, settings), policy)

    def start(self, inputs: Dict[str, Any], settings: Optional[RowSettings] = None) -> Batch:
        """Return what the engine runs, of what `tokenise` returned."""
        pieces = inputs.pop("pieces", [])
        return self.engine.start(inputs, settings, self.engine.lexical_logits(pieces))

    def _encode(self, texts: Sequence[List[str]]) -> Any:
        single = len(self.engine.manifest.fields) == 1
        return self.engine.tokenizer.encode([row[0] if single else row for row in texts])


class _Words:
    """Run a linear model on word features; its features count as tokenising."""

    def __init__(self, contender: Contender, threads: int) -> None:
        from threadpoolctl import threadpool_limits

        from sledgehammer.benchmark.words import WordClassifier

        self._limits = threadpool_limits(threads)
        self._classifier = WordClassifier.load(Path(contender.path))

    def tokenise(self, texts: Sequence[List[str]]) -> Any:
        return self._classifier.features.transform(texts)

    def run(self, inputs: Any, exits: Optional[Sequence[int]] = None) -> None:
        self._classifier.logits_of(inputs).argmax(axis=1)

    def lengths(self, texts: Sequence[List[str]]) -> List[int]:
        return [sum(map(len, row)) for row in texts]


class _Torch:
    """Open an archive, and tokenise with its reader; both eager kinds do so."""

    def __init__(self, contender: Contender) -> None:
        from sledgehammer.benchmark.timing import wait_for_device
        from sledgehammer.model.archives import open_archive

        self._wait_for_device = wait_for_device
        self.model, self._reader = open_archive(
            contender.path, contender.cuda_device, contender.overrides
        )

    def run(self, inputs: Dict[str, Any], exits: Optional[Sequence[int]] = None) -> None:
        device = self.model.temperatures.device
        pieces = {name: inputs.pop(name) for name in ("pieces",) if name in inputs}
        moved = {name: tensor.to(device) for name, tensor in inputs.items()}
        self._classify({"tokens": moved, **pieces}, exits)
        self._wait_for_device()

    def _classify(self, inputs: Dict[str, Any], exits: Optional[Sequence[int]]) -> None:
        raise NotImplementedError

    def tokenise(self, texts: Sequence[List[str]]) -> Dict[str, Any]:
        return self._reader.tensors(self._reader.encode(texts))

    def lengths(self, texts: Sequence[List[str]]) -> List[int]:
        return [len(row["input_ids"]) for row in self._reader.encode(texts)]


class _Archive(_Torch):
    def __init__(self, contender: Contender) -> None:
        super().__init__(contender)
        contender.set_up(self.model.policy)

    def tokenise(self, texts: Sequence[List[str]]) -> Dict[str, Any]:
        pieces = {} if self.model.lexical is None else {"pieces": self._reader.pieces(texts)}
        return {**super().tokenise(texts), **pieces}

    def _classify(self, inputs: Dict[str, Any], exits: Optional[Sequence[int]]) -> None:
        if exits is None:
            self.model(**inputs)
            return
        archives_policy = self.model.policy
        self.model.policy = policy = ForcedExits()
        self.model(**inputs, settings=[policy.settings_for({"exit": exit}) for exit in exits])
        self.model.policy = archives_policy


class ForcedExits(ExitPolicy):
    """Stop each row at a given exit: its setting is the position of the exit."""

    name = "forced exits"
    settings = {"exit": SettingRange(default=None, full=np.inf, high=np.inf, optional=True)}
    sweeps = "exit"

    def stops(self, evidence: Evidence, settings: RowSettings) -> Decision:
        return settings["exit"] < evidence.seen


class _Transformers(_Torch):
    def __init__(self, contender: Contender) -> None:
        import torch

        from sledgehammer.benchmark.plain import PlainClassifier

        super().__init__(contender)
        plain: Any = PlainClassifier(self.model, contender.exit)  # type: ignore[arg-type]
        self._plain = plain.to(getattr(torch, contender.dtype))

    def _classify(self, inputs: Dict[str, Any], exits: Optional[Sequence[int]]) -> None:
        self._plain(inputs["tokens"])
