"""What the readers' tests share: reading rows, and random texts for tables of them."""

from pathlib import Path
from typing import Any, List

import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from sledgehammer.dataset_readers.base import Row, TransformerReader

TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=0, max_size=30
).filter(lambda text: text == text.strip())
"""What stands in a field of a file: no line ends, no spaces around it."""

tables = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""For property tests that write a table into the test's folder."""


def assert_named(reader: TransformerReader, folder: Path, content: bytes, message: str) -> None:
    """A file with this content is refused, and the error says where it is wrong."""
    path = folder / "bad.data"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"bad.data, {message}"):
        rows(reader, path)


def rows(reader: TransformerReader, path: Any) -> List[Row]:
    return list(reader.rows(str(path)))
