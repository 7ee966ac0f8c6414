"""What the readers' tests share: reading rows, and random texts for tables of them."""

from typing import Any, List

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


def rows(reader: TransformerReader, path: Any) -> List[Row]:
    return list(reader.rows(str(path)))
