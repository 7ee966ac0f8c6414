"""Open models for programs, whether they were exported or not."""

from pathlib import Path
from typing import Optional, Union

from sledgehammer.engine import Engine, EngineError
from sledgehammer.engine import load as load_engine
from sledgehammer.engine.manifest import is_engine
from sledgehammer.support.missing_allennlp import require_allennlp


def load(path: Union[str, Path], threads: Optional[int] = None) -> Engine:
    """Open an exported model, or an archive, whose model then runs in eager PyTorch on the CPU.

    Both answer alike: see `Engine.predict` and `Engine.stream`. An exported model needs neither
    AllenNLP nor torch, and is faster.

    # Parameters

    path : `Path`
        The directory of an exported model; or an archive, its folder or its URL.
    threads : `int`, optional
        How many threads an exported model may use; all usable cores if `None`. An archive uses
        torch's, and takes no number here.

    # Raises

    `EngineError` if it is neither, incomplete or damaged; `ImportError` if it is an archive and
    AllenNLP is missing.
    """
    if is_engine(path):
        return load_engine(path, threads)
    if threads is not None:
        raise EngineError("threads is for exported models; see torch.set_num_threads")
    require_allennlp()
    from allennlp.common.checks import ConfigurationError

    from sledgehammer.export.eager import eager_engine
    from sledgehammer.model.archives import open_archive

    try:
        return eager_engine(open_archive(str(path)))
    except ConfigurationError as error:
        raise EngineError(error.message) from error
