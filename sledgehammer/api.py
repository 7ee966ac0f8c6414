"""Open models for programs, whether they were exported or not, and fit new ones."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Iterator, List, Mapping, Optional, Union

from sledgehammer.engine import Engine, EngineError
from sledgehammer.engine import load as load_engine
from sledgehammer.engine.from_hub import engine_from_hub
from sledgehammer.engine.manifest import MANIFEST, is_engine
from sledgehammer.support.hub import HubError, HubName, NoSuchFile, fetch, is_hub_name
from sledgehammer.support.missing_allennlp import require_allennlp

if TYPE_CHECKING:  # the analysis needs torch, which exported models do without
    from sledgehammer.analysis.tradeoff import Point

AnyPath = Union[str, Path]


class Classifier(Engine):
    """A model that answers texts, whether it is an archive or an exported model.

    `predict` and `stream` are those of `Engine`. What learns from labelled texts needs AllenNLP
    and torch; it never changes the model at hand, but writes another and opens it.

    # Parameters

    engine : `Engine`
    path : `Path`
        Where the model is.
    """

    def __init__(self, engine: Engine, path: AnyPath) -> None:
        super().__init__(
            engine.manifest, engine.tokenizer, engine.segments, engine.choice, engine.lexical
        )
        self.path = Path(path)

    @property
    def labels(self) -> List[str]:
        """The names of the classes."""
        return list(self.manifest.labels)

    @property
    def is_exported(self) -> bool:
        """Whether this is an exported model, and no archive."""
        return is_engine(self.path)

    def curve(self, texts: Iterable[Any], labels: Iterable[Any]) -> "List[Point]":
        """Return what every threshold gives on labelled texts, the fastest first.

        # Parameters

        texts : `Iterable[Any]`
            Strings, or pairs of them; a column of pandas or `datasets` will do.
        labels : `Iterable[Any]`
            As many.

        # Raises

        `EngineError` for unknown labels, bad texts, or another number of either.
        """
        require_allennlp()
        from sledgehammer.commands.programs import curve

        with _engine_errors():
            return curve(str(self.path), texts, labels)

    def choose(
        self,
        texts: Iterable[Any],
        labels: Iterable[Any],
        output: AnyPath,
        max_accuracy_drop: Optional[float] = None,
        delta: Optional[float] = 0.1,
        force: bool = False,
        *,
        max_macro_f1_drop: Optional[float] = None,
        recall: Optional[str] = None,
        tolerance: Optional[float] = None,
        fixed: Optional[Mapping[str, float]] = None,
    ) -> "Classifier":
        """Choose the fastest threshold that is accurate enough, and write a model that has it.

        It keeps all bounds that are given, with probability 1 - delta all of them together. They are
        on differences from the last exit, on all texts that are drawn as these were; the rows must
        be independent draws. The guarantee holds for any number of rows: with too few, the full
        model is chosen. See `analysis.risk` and `analysis.f1_drop` for the tests.

        # Parameters

        texts, labels : `Iterable[Any]`
            As for `curve`. For a guarantee, none of them may have had a part in the model.
        output : `Path`
            The archive or, for an exported model, the directory to write.
        max_accuracy_drop : `float`, optional
            What the threshold may cost, against the last exit; 0.01 if no bound is given.
        delta : `float`, optional
            The probability that it costs more on other texts like these; `None` for no guarantee.
        force : `bool`, optional (default = `False`)
            Overwrite what is at `output`.
        max_macro_f1_drop : `float`, optional
            The same for macro-F1, in which a rare label counts as much as a frequent one: the mean
            over all labels of the model, so some texts of each are needed.
        recall : `str`, optional
            A label whose recall may drop by `tolerance` at most.
        tolerance : `float`, optional
        fixed : `Mapping[str, float]`, optional
            Thresholds of some labels, `{"spam": 0.99}`, which the chosen one is then not for.

        # Raises

        `EngineError` also for texts that trained the model, if there is to be a guarantee.
        """
        require_allennlp()
        from sledgehammer.commands.programs import choose, rows_of

        with _engine_errors():
            fields = self.manifest.fields
            rows = rows_of(texts, labels, len(fields))
            if max_accuracy_drop is max_macro_f1_drop is recall is tolerance is None:
                max_accuracy_drop = 0.01
            conditions = {
                "max_accuracy_drop": max_accuracy_drop, "max_macro_f1_drop": max_macro_f1_drop,
                "recall": recall, "tolerance": tolerance, "delta": delta,
            }  # fmt: skip
            choose(str(self.path), rows, fields, Path(output), conditions, fixed, force)
        return load(output)

    def calibrate(
        self,
        texts: Iterable[Any],
        labels: Iterable[Any],
        output: AnyPath,
        few_rows: bool = False,
        force: bool = False,
    ) -> "Classifier":
        """Fit the temperatures of an archive to other texts, and write a new archive.

        # Raises

        `EngineError` also for an exported model, or too few texts of a label without `few_rows`.
        """
        require_allennlp()
        from sledgehammer.commands.programs import calibrate, rows_of

        with _engine_errors():
            fields = self.manifest.fields
            rows = rows_of(texts, labels, len(fields))
            calibrate(str(self.path), rows, fields, Path(output), few_rows, force)
        return load(output)

    def export(
        self, output: AnyPath, precision: str = "int8", format: str = "onnx", force: bool = False
    ) -> "Classifier":
        """Write an archive as an exported model, which needs neither AllenNLP nor torch.

        # Raises

        `EngineError` for a model that is exported already, or a format that cannot be written.
        """
        require_allennlp()
        from sledgehammer.commands.programs import export

        with _engine_errors():
            export(str(self.path), Path(output), precision, format, force)
        return load(output)


def load(path: AnyPath, threads: Optional[int] = None) -> Classifier:
    """Open an exported model, or an archive, whose model then runs in eager PyTorch on the CPU.

    Both answer alike: see `Engine.predict` and `Engine.stream`. An exported model needs neither
    AllenNLP nor torch, and is faster.

    # Parameters

    path : `Path`
        The directory of an exported model; or an archive, its folder or its URL; or
        `hub:OWNER/NAME@REVISION`, either of them on the Hugging Face hub.
    threads : `int`, optional
        How many threads an exported model may use; all usable cores if `None`. An archive uses
        torch's, and takes no number here.

    # Raises

    `EngineError` if it is neither, incomplete or damaged; `ImportError` if it is an archive and
    AllenNLP is missing.
    """
    if is_hub_name(path):
        path = _from_hub(str(path))
    if is_engine(path):
        return Classifier(load_engine(path, threads), path)
    if threads is not None:
        raise EngineError("threads is for exported models; see torch.set_num_threads")
    require_allennlp()
    from sledgehammer.export.eager import eager_engine
    from sledgehammer.model.archives import open_archive

    with _engine_errors():
        return Classifier(eager_engine(open_archive(str(path))), path)


def _from_hub(name: str) -> Path:
    """Return where an exported model or an archive of the hub is on this machine."""
    try:
        fetch(HubName.parse(name), MANIFEST)
    except NoSuchFile:
        require_allennlp()
        from sledgehammer.model.hub_archive import archive_from_hub

        with _engine_errors():
            return archive_from_hub(name)
    except HubError as error:
        raise EngineError(str(error)) from error
    return engine_from_hub(name)


def fit(
    texts: Iterable[Any],
    labels: Iterable[Any],
    output: AnyPath,
    *,
    backbone: Optional[str] = None,
    objective: Optional[str] = None,
    minutes: Optional[float] = None,
    epochs: Optional[int] = None,
    max_accuracy_drop: float = 0.01,
    delta: float = 0.1,
    class_weights: Any = None,
    force: bool = False,
) -> Classifier:
    """Train a model, choose its threshold with a guarantee, export it, and open it.

    It does what `sledgehammer fit` does. The texts are divided by their hash: most train the
    network, some fit the temperatures, some choose the threshold.

    # Parameters

    texts : `Iterable[Any]`
        Strings, or pairs of them; a column of pandas or `datasets` will do.
    labels : `Iterable[Any]`
        As many: strings, whole numbers or booleans.
    output : `Path`
        A folder that must not exist: it gets `data.jsonl`, and in `model/` the archive
        (`model.tar.gz`), the exported model (`engine/`) and the config that ran.
    backbone : `str`, optional
        Hub name, local folder or `package:NAME/PATH`.
    objective : `str`, optional
        How the exits learn; `joint` by default.
    minutes : `float`, optional
        How long the network may train, with fewer rows if need be.
    epochs : `int`, optional
    max_accuracy_drop, delta : `float`, optional
        With probability 1 - delta the threshold costs at most that accuracy.
    class_weights : `Union[str, Dict[str, float]]`, optional
        `"auto"`, or a map.
    force : `bool`, optional
        Replace what an earlier call wrote.

    # Raises

    `EngineError` for what a user can mend; nothing is left behind then.
    """
    require_allennlp()
    from sledgehammer.commands.programs import fit_texts

    with _engine_errors():
        options = {
            "backbone": backbone, "objective": objective, "minutes": minutes, "epochs": epochs,
            "max_accuracy_drop": max_accuracy_drop, "delta": delta, "class_weights": class_weights,
        }  # fmt: skip
        return load(fit_texts(texts, labels, Path(output), force, options))


@contextmanager
def _engine_errors() -> Iterator[None]:
    """Raise what a user can mend as `EngineError`, whichever library found it."""
    from allennlp.common.checks import ConfigurationError

    try:
        yield
    except ConfigurationError as error:
        raise EngineError(error.message) from error
