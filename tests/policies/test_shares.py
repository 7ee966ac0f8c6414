"""What policies may ask of calibration: where rows stop at which threshold."""

import numpy as np

from sledgehammer.policies import exit_shares, known_shares, unknown_shares
from tests.policies.seen import random_evidence, two_labels


def test_shares_by_hand() -> None:
    """Confidences 0.6 and 0.9 at the first exit, then 0.7 and 1.0: above 0.6 one row goes on."""
    shares = exit_shares(two_labels([0.6, 0.7, 0.5], [0.9, 1.0, 0.5]).probs)
    assert shares[0].tolist() == [0, 1, 0, 0]
    assert shares[-1].tolist() == [1, 0, 0, 1]
    middle = shares[np.searchsorted(shares[:, 0], 0.65)]
    assert middle[1:].tolist() == [0.5, 0.5, 0.0]
    assert (np.diff(shares[:, 0]) >= 0).all() and np.allclose(shares[:, 1:].sum(axis=1), 1)


def test_tables_of_all_models_with_as_many_exits_have_one_shape() -> None:
    """So that weights with the one can be loaded where the other is."""
    for exits in (1, 2, 4):
        table = exit_shares(random_evidence(0, rows=9, exits=exits).probs)
        assert table.shape == unknown_shares(exits).shape
        assert table.dtype == unknown_shares(exits).dtype == np.float32
        assert known_shares(table) is table and known_shares(unknown_shares(exits)) is None
    assert known_shares(np.asarray([], np.float32)) is None, "as manifests write it"
