"""Open exported models."""

from pathlib import Path
from typing import Optional, Union

from sledgehammer.engine.arguments import whole_number
from sledgehammer.engine.engine import Engine
from sledgehammer.engine.from_hub import engine_from_hub
from sledgehammer.engine.manifest import (
    LEXICAL,
    MANIFEST,
    TOKENIZER,
    EngineError,
    Manifest,
    read,
    read_choice,
)
from sledgehammer.engine.runtimes import open_segments
from sledgehammer.engine.tokenizer import Tokenizer
from sledgehammer.lexical import LexicalError, LinearModel
from sledgehammer.support.hub import is_hub_name


def load(directory: Union[str, Path], threads: Optional[int] = None) -> Engine:
    """Open an exported model.

    # Parameters

    directory : `Path`
        A directory that `sledgehammer export` wrote; or `hub:OWNER/NAME@REVISION`, to take one from
        the Hugging Face hub.
    threads : `int`, optional
        The threads that share the work of a segment; one for each usable core if `None`.

    # Raises

    `EngineError` if the directory is not an exported model, or is incomplete or damaged, or if its
    runtime is not installed.
    """
    if threads is not None:
        threads = whole_number(threads, 1, "threads")
    directory = engine_from_hub(str(directory)) if is_hub_name(directory) else Path(directory)
    manifest = read(directory)
    tokenizer = Tokenizer(
        directory / TOKENIZER,
        manifest.max_length,
        manifest.inputs,
        manifest.pad_token_id,
        len(manifest.fields),
        whole=manifest.has_lexical,
        long_texts=manifest.long_texts,
    )
    choice = read_choice(directory)
    lexical = _lexical_exit(directory, manifest) if manifest.has_lexical else None
    segments = open_segments(directory, manifest, threads)
    return Engine(manifest, tokenizer, segments, choice, lexical)


def _lexical_exit(directory: Path, manifest: Manifest) -> LinearModel:
    try:
        lexical = LinearModel.load(directory / LEXICAL)
    except LexicalError as error:
        raise EngineError(str(error)) from error
    wanted = len(manifest.fields), len(manifest.labels)
    if (lexical.space.texts, lexical.labels) != wanted:
        raise EngineError(
            f"{directory / LEXICAL} is for {lexical.space.texts} texts a row and {lexical.labels} "
            f"labels, {directory / MANIFEST} for {wanted[0]} and {wanted[1]}: export it again"
        )
    return lexical
