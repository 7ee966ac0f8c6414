"""What can be timed: exported engines, archives, and models without exits."""

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Protocol, Sequence

from numpy import ndarray


@dataclass(frozen=True)
class Contender:
    """Something to time, as its process is told.

    # Parameters

    name : `str`
    kind : `str`
        `"engine"`, `"archive"` (eager, with exits) or `"transformers"` (eager, without).
    path : `str`
        Of the exported model or of the archive.
    threshold : `float`, optional
        Where the contender stops; its default if `None`.
    dtype : `str`, optional (default = `"float32"`)
        Of transformers' model.
    exit : `int`, optional (default = `-1`)
        The position of the exit at whose layer transformers' model is cut.
    """

    name: str
    kind: str
    path: str
    threshold: Optional[float] = None
    dtype: str = "float32"
    exit: int = -1

    def as_dict(self) -> Dict[str, Any]:
        return asdict(self)


class Loaded(Protocol):
    """A contender within its process."""

    def tokenise(self, texts: Sequence[List[str]]) -> Any:
        """The input of `run` for some rows, of one text or two."""

    def run(self, inputs: Any, exits: Optional[Sequence[int]] = None) -> None:
        """Classify; with `exits` each row leaves at the exit of that position."""

    def lengths(self, texts: Sequence[List[str]]) -> List[int]:
        """Word pieces of each row."""


def load(contender: Contender, threads: int) -> Loaded:
    """Open a contender in this process."""
    if contender.kind == "engine":
        return _Engine(contender, threads)
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    return _Archive(contender) if contender.kind == "archive" else _Transformers(contender)


class _Engine:
    def __init__(self, contender: Contender, threads: int) -> None:
        from sledgehammer import engine

        self.engine = engine.load(contender.path, threads)
        self._threshold = contender.threshold

    def tokenise(self, texts: Sequence[List[str]]) -> Dict[str, ndarray]:
        return self.engine.tokenizer.batch(self._encode(texts))

    def lengths(self, texts: Sequence[List[str]]) -> List[int]:
        return [len(row.ids) for row in self._encode(texts)]

    def run(self, inputs: Dict[str, ndarray], exits: Optional[Sequence[int]] = None) -> None:
        import numpy as np

        from sledgehammer.engine.classifier import confident

        if exits is None:
            rows = len(inputs["input_ids"])
            stops = confident(self.engine.thresholds(self._threshold, rows))
        else:
            given = np.asarray(exits)

            def stops(probs: List[ndarray], rows: ndarray) -> ndarray:
                return given[rows] < len(probs)

        self.engine.run_until_answered(inputs, stops)

    def _encode(self, texts: Sequence[List[str]]) -> Any:
        single = len(self.engine.manifest.fields) == 1
        return self.engine.tokenizer.encode([row[0] if single else row for row in texts])


class _Torch:
    """What the two eager kinds share: an archive's reader makes the tokens."""

    def __init__(self, contender: Contender) -> None:
        import sledgehammer.plugin  # noqa: F401  AllenNLP must know the classes
        from sledgehammer.archives import open_archive

        self.model, self._reader = open_archive(contender.path)

    def tokenise(self, texts: Sequence[List[str]]) -> Dict[str, Any]:
        return self._reader.tensors(self._reader.encode(texts))

    def lengths(self, texts: Sequence[List[str]]) -> List[int]:
        return [len(row["input_ids"]) for row in self._reader.encode(texts)]


class _Archive(_Torch):
    def __init__(self, contender: Contender) -> None:
        super().__init__(contender)
        if contender.threshold is not None:
            self.model.policy.threshold = contender.threshold

    def run(self, inputs: Dict[str, Any], exits: Optional[Sequence[int]] = None) -> None:
        import torch

        if exits is None:
            self.model(inputs)
            return
        own = self.model.policy
        self.model.policy = _Forced()  # type: ignore[assignment]
        self.model(inputs, threshold=torch.tensor(exits))
        self.model.policy = own


class _Forced:
    """Stands in for a policy: its `threshold` is the position of the exit to take."""

    def may_exit(self, threshold: Any) -> bool:
        return True

    def should_exit(self, probs: Any, threshold: Any) -> Any:
        return threshold < probs.size(1)


class _Transformers(_Torch):
    def __init__(self, contender: Contender) -> None:
        import torch

        from sledgehammer.benchmark.plain import PlainClassifier

        super().__init__(contender)
        plain: Any = PlainClassifier(self.model, contender.exit)  # type: ignore[arg-type]
        self._plain = plain.to(getattr(torch, contender.dtype))

    def run(self, inputs: Dict[str, Any], exits: Optional[Sequence[int]] = None) -> None:
        self._plain(inputs)
