"""Temperature fitting and calibration error."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.calibration import (
    MIXING_BOUNDS,
    TEMPERATURE_BOUNDS,
    Scaling,
    _MixedLikelihood,
    bin_counts,
    expected_calibration_error,
    fit_scaling,
    fit_scalings,
    fit_temperature,
    mixed,
    nll,
)


def sample(temperature: float, rows: int = 20_000) -> "tuple[torch.Tensor, torch.Tensor]":
    """Logits whose best temperature is the given one: labels are drawn from them at it."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn((rows, 3), generator=generator)
    probs = torch.softmax(logits / temperature, dim=-1)
    return logits, torch.multinomial(probs, 1, generator=generator).squeeze(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_finds_the_temperature_that_the_labels_were_drawn_with(temperature: float) -> None:
    assert fit_temperature(*sample(temperature)) == pytest.approx(temperature, rel=0.05)


def test_uninformative_exit_stays_within_bounds() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(2, (500,), generator=generator)
    logits = 40 * torch.randn((500, 2), generator=generator)
    fitted = fit_temperature(logits, label)
    assert TEMPERATURE_BOUNDS[1] * 0.99 < fitted <= TEMPERATURE_BOUNDS[1]


def test_perfect_exit_stays_within_bounds() -> None:
    label = torch.arange(100) % 2
    logits = 0.1 * torch.nn.functional.one_hot(label, 2).float()
    fitted = fit_temperature(logits, label)
    assert TEMPERATURE_BOUNDS[0] <= fitted < TEMPERATURE_BOUNDS[0] * 1.01


def test_temperature_that_changes_nothing_is_one() -> None:
    assert fit_temperature(torch.zeros(6, 3), torch.arange(6) % 3) == 1.0


def test_no_rows() -> None:
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)) == 1.0


@given(
    st.integers(1, 30),
    st.integers(2, 5),
    st.floats(0.01, 50),
    st.integers(0, 100_000),
)
def test_never_worsens_the_likelihood(rows: int, labels: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn((rows, labels), generator=generator)
    label = torch.randint(labels, (rows,), generator=generator)
    fitted = fit_temperature(logits, label)
    assert TEMPERATURE_BOUNDS[0] <= fitted <= TEMPERATURE_BOUNDS[1] * (1 + 1e-6)
    assert nll(logits, label, fitted) <= nll(logits, label)


def test_hand_computed_error() -> None:
    confidence = torch.tensor([0.95, 0.95, 0.55, 0.55])
    correct = torch.tensor([True, False, True, True])
    # Two bins: |0.5 - 0.95| and |1 - 0.55|, half of the rows in each.
    assert expected_calibration_error(confidence, correct, bins=10) == pytest.approx(0.45)


def test_error_of_honest_answers_is_zero() -> None:
    correct = torch.tensor([True, True, True, False])
    assert expected_calibration_error(torch.full((4,), 0.75), correct) == pytest.approx(0.0)
    assert expected_calibration_error(torch.zeros(0), torch.zeros(0, dtype=torch.bool)) == 0.0


def inside_a_bin(confidence: float) -> bool:
    """Away from the edges that floating point may put on either side (0 and 1 are safe)."""
    scaled = confidence * 15
    return confidence in (0.0, 1.0) or not math.isclose(scaled, round(scaled), abs_tol=1e-9)


CONFIDENCES = st.floats(0, 1).filter(inside_a_bin)


@given(st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=60))
def test_error_equals_a_plain_implementation(rows: "list[tuple[float, bool]]") -> None:
    confidence = np.array([c for c, _ in rows])
    correct = np.array([right for _, right in rows])
    error = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if low == 0:
            inside |= confidence == 0
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    found = expected_calibration_error(torch.tensor(confidence), torch.tensor(correct))
    assert found == pytest.approx(error, abs=1e-9)


def test_confidence_at_an_edge_belongs_to_the_lower_bin() -> None:
    confidence = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.double)
    count, _, total = bin_counts(confidence, torch.ones(5, dtype=torch.bool), bins=4)
    assert count.tolist() == [2, 1, 1, 1]
    assert total.tolist() == [0.25, 0.5, 0.75, 1.0]


def test_bins_count_everything_once() -> None:
    confidence = torch.linspace(0, 1, 101)
    count, right, total = bin_counts(confidence, confidence > 0.5)
    assert count.sum() == 101
    assert right.sum() == int((confidence > 0.5).sum())
    assert float(total.sum()) == pytest.approx(float(confidence.double().sum()))


def two_exits(scaling: Scaling, rows: int = 20_000) -> "tuple[torch.Tensor, ...]":
    """Logits of an exit and of the lexical exit, and labels drawn with the given scaling."""
    generator = torch.Generator().manual_seed(0)
    logits, lexical = 3 * torch.randn((2, rows, 3), generator=generator)
    probs = torch.softmax((logits + scaling.mixing * lexical) / scaling.temperature, dim=-1)
    return logits, lexical, torch.multinomial(probs, 1, generator=generator).squeeze(1)


@pytest.mark.parametrize("temperature, mixing", [(1.0, 0.5), (2.5, 1.3), (0.6, 3.0)])
def test_finds_the_scaling_that_the_labels_were_drawn_with(
    temperature: float, mixing: float
) -> None:
    found = fit_scaling(*two_exits(Scaling(temperature, mixing)))
    assert found == pytest.approx((temperature, mixing), rel=0.05)


def test_what_does_not_help_is_not_mixed_in() -> None:
    logits, lexical, label = two_exits(Scaling(1.5, -0.5))
    assert fit_scaling(logits, lexical, label) == Scaling(fit_temperature(logits, label), 0.0)
    nothing = fit_scaling(logits[:0], lexical[:0], label[:0])
    assert nothing == Scaling(1.0, 0.0)


@given(seed=st.integers(0, 1000), rows=st.integers(1, 30), scale=st.sampled_from([0.1, 3.0, 60.0]))
def test_mixing_is_bounded_and_never_worse_than_the_temperature_alone(
    seed: int, rows: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, lexical = scale * torch.randn((2, rows, 4), generator=generator)
    label = torch.randint(4, (rows,), generator=generator)
    temperature, mixing = fit_scaling(logits, lexical, label)
    assert TEMPERATURE_BOUNDS[0] * 0.999 <= temperature <= TEMPERATURE_BOUNDS[1] * 1.001
    assert MIXING_BOUNDS[0] <= mixing <= MIXING_BOUNDS[1]
    alone = nll(logits, label, fit_temperature(logits, label))
    assert nll(logits.double() + mixing * lexical.double(), label, temperature) <= alone + 1e-9


def test_gradient_of_the_mixed_likelihood() -> None:
    logits, lexical, label = two_exits(Scaling(1.5, 0.7), rows=50)
    loss = _MixedLikelihood(logits.double().numpy(), lexical.double().numpy(), label.numpy())
    point, step = np.array([0.3, 0.4]), 1e-6
    for axis in range(2):
        move = step * np.eye(2)[axis]
        slope = (loss(point + move)[0] - loss(point - move)[0]) / (2 * step)
        assert loss(point)[1][axis] == pytest.approx(slope, rel=1e-5)
    value = nll(logits.double() + 0.4 * lexical.double(), label, math.exp(0.3))
    assert loss(point)[0] == pytest.approx(value)


def test_the_lexical_exit_is_scaled_and_the_others_are_mixed() -> None:
    logits, lexical, label = two_exits(Scaling(1.5, 0.7))
    stacked = torch.stack([lexical, logits, logits], dim=1)
    scalings = fit_scalings(stacked, label)
    assert scalings[0] == Scaling(fit_temperature(lexical, label), 0.0)
    assert scalings[1] == scalings[2] == fit_scaling(logits, lexical, label)
    mixing = torch.tensor([scaling.mixing for scaling in scalings])
    together = mixed(stacked, mixing)
    assert torch.equal(together[:, 0], lexical)
    torch.testing.assert_close(together[:, 1], logits + scalings[1].mixing * lexical)


def test_a_scaling_is_what_the_model_can_store() -> None:
    found = fit_scaling(*two_exits(Scaling(1.3, 0.7)))
    assert found.mixing > 0
    assert list(found) == torch.tensor(list(found), dtype=torch.float32).tolist()
