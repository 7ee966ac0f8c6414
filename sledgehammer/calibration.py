"""Fit temperatures, and measure how well confidence is calibrated: pure functions on tensors.

Sources: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (temperature scaling,
expected calibration error); Naeini et al., AAAI 2015 (the error's bins).
"""

import math
from typing import List, NamedTuple, Tuple

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import cross_entropy

TEMPERATURE_BOUNDS = (0.05, 20.0)
"""The search is bounded, because the best temperature of an exit that knows nothing is infinite."""

MIXING_BOUNDS = (0.0, 10.0)
"""How much of the lexical exit's logits may be added to another exit's; never a negative share."""

ROWS_PER_LABEL = 10
"""Temperatures need at least so many rows of each label. With fewer, the result is chance: if there
is a single row, and an exit gets it right, the exit becomes as sure as the bound allows."""

BINS = 15
"""Intervals of [0, 1] over which the expected calibration error is taken (Guo et al. 2017)."""


def nll(logits: Tensor, label: Tensor, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood (nats) of (rows, labels) logits at a temperature."""
    return float(cross_entropy(logits.double() / temperature, label))


def fit_temperature(logits: Tensor, label: Tensor) -> float:
    """Return the temperature that minimises the negative log-likelihood of one exit.

    The likelihood is convex in 1/temperature, so that a bounded one-dimensional search over the
    log-temperature finds the minimum. The result is never worse than a temperature of 1.0, which
    is returned where there are no rows.

    # Parameters

    logits : `Tensor`
        Shape (rows, labels), uncalibrated.
    label : `Tensor`
        Shape (rows,), long.

    # Returns

    A temperature within `TEMPERATURE_BOUNDS`.
    """
    if len(label) == 0:
        return 1.0
    logits = logits.detach().double().cpu()
    label = label.cpu()
    minimum = minimize_scalar(
        lambda log_temperature: nll(logits, label, math.exp(log_temperature)),
        bounds=tuple(math.log(bound) for bound in TEMPERATURE_BOUNDS),
        method="bounded",
        options={"xatol": 1e-5},
    )
    # Rounded to float32, as the model stores it: what is compared below is what will be used.
    temperature = float(torch.tensor(math.exp(minimum.x)))
    return temperature if nll(logits, label, temperature) < nll(logits, label) else 1.0


def fit_temperatures(logits: Tensor, label: Tensor) -> List[float]:
    """Return all exits' temperatures, from (rows, exits, labels) logits; see `fit_temperature`."""
    return [fit_temperature(exit_logits, label) for exit_logits in logits.unbind(dim=1)]


class Scaling(NamedTuple):
    """Say how logits z become probabilities: `softmax((z + mixing * z_lexical) / temperature)`."""

    temperature: float
    mixing: float


def mixed(logits: Tensor, mixing: Tensor) -> Tensor:
    """Return each exit's logits plus a multiple of those of the lexical exit, the first of all.

    # Parameters

    logits : `Tensor`
        Shape (rows, exits, labels).
    mixing : `Tensor`
        Shape (exits,): the multiple for each exit, 0 for the lexical exit itself.
    """
    return logits + mixing[:, None] * logits[:, :1]


def fit_scaling(logits: Tensor, lexical: Tensor, label: Tensor) -> Scaling:
    """Return the temperature and the mixing that minimise the negative log-likelihood together.

    The likelihood is convex in 1/temperature and mixing/temperature, so that it has one minimum;
    it is searched within bounds. The result is never worse than the temperature alone
    (`fit_temperature`), which is returned where mixing does not help, or without rows.

    # Parameters

    logits, lexical : `Tensor`
        Shape (rows, labels), uncalibrated: the logits of an exit, and of the lexical exit.
    label : `Tensor`
        Shape (rows,), long. Neither exit should have been trained on these rows.

    # Returns

    A temperature within `TEMPERATURE_BOUNDS` and a mixing within `MIXING_BOUNDS`.
    """
    logits, lexical, label = (t.detach().cpu() for t in (logits, lexical, label))
    alone = Scaling(fit_temperature(logits, label), 0.0)
    if len(label) == 0:
        return alone
    loss = _MixedLikelihood(logits.double().numpy(), lexical.double().numpy(), label.numpy())
    minimum = minimize(
        loss,
        # A search that starts with a mixing at the edge of its range moves away only slowly.
        x0=[math.log(alone.temperature), 0.5],
        jac=True,
        method="L-BFGS-B",
        bounds=[tuple(math.log(bound) for bound in TEMPERATURE_BOUNDS), MIXING_BOUNDS],
        options={"ftol": 1e-12, "gtol": 1e-8},
    )
    # Rounded to float32, as the model stores them.
    stored = torch.tensor([math.exp(minimum.x[0]), float(minimum.x[1])], dtype=torch.float32)
    temperature, mixing = stored.tolist()
    if mixing == 0.0:
        return alone
    with_mixing = nll(logits.double() + mixing * lexical.double(), label, temperature)
    without = nll(logits, label, alone.temperature)
    return Scaling(temperature, mixing) if with_mixing < without else alone


def fit_scalings(logits: Tensor, label: Tensor) -> List[Scaling]:
    """Return the scaling of every exit from (rows, exits, labels) logits, the lexical exit's first.

    The lexical exit gets a temperature alone. See `fit_scaling`.
    """
    lexical, *others = logits.unbind(dim=1)
    first = Scaling(fit_temperature(lexical, label), 0.0)
    return [first, *(fit_scaling(exit_logits, lexical, label) for exit_logits in others)]


class _MixedLikelihood:
    """Compute the mean negative log-likelihood of (log temperature, mixing), and its gradient."""

    def __init__(self, logits: np.ndarray, lexical: np.ndarray, label: np.ndarray) -> None:
        self._logits = logits
        self._lexical = lexical
        self._label = label[:, None]

    def __call__(self, point: np.ndarray) -> Tuple[float, np.ndarray]:
        inverse = math.exp(-point[0])
        scaled = inverse * (self._logits + point[1] * self._lexical)
        scaled -= scaled.max(axis=1, keepdims=True)
        powers = np.exp(scaled)
        total = powers.sum(axis=1, keepdims=True)
        of_label = np.take_along_axis(scaled, self._label, axis=1)
        excess = powers / total  # the gradient by the scaled logits: probabilities less the truth
        np.put_along_axis(
            excess, self._label, np.take_along_axis(excess, self._label, axis=1) - 1, axis=1
        )
        rows = len(scaled)
        by_log_temperature = -(excess * scaled).sum() / rows
        by_mixing = inverse * (excess * self._lexical).sum() / rows
        return float((np.log(total) - of_label).mean()), np.array([by_log_temperature, by_mixing])


def is_at_bound(temperature: float) -> bool:
    """Return whether a temperature is as low or as high as the search goes, within 1 %."""
    low, high = TEMPERATURE_BOUNDS
    return temperature <= low * 1.01 or temperature >= high / 1.01


def bin_counts(confidence: Tensor, correct: Tensor, bins: int = BINS) -> Tuple[Tensor, ...]:
    """Return the answers, right answers and summed confidence in each of `bins` equal intervals.

    The intervals divide [0, 1].

    # Parameters

    confidence : `Tensor`
        Shape (rows,), in [0, 1].
    correct : `Tensor`
        Shape (rows,), bool.

    # Returns

    Three tensors of shape (bins,), double.
    """
    confidence = confidence.double()
    # Intervals are open on the left: a confidence of exactly 1/15 belongs to the first.
    index = (torch.ceil(confidence * bins) - 1).clamp(0, bins - 1).long()
    weights = (torch.ones_like(confidence), correct.double(), confidence)
    return tuple(
        torch.zeros(bins, dtype=torch.double, device=confidence.device).index_add(0, index, weight)
        for weight in weights
    )


def error_from_bins(count: Tensor, right: Tensor, confidence: Tensor) -> float:
    """Return the expected calibration error: mean |accuracy - confidence| over bins, in [0, 1].

    The arguments are the three tensors that `bin_counts` returns.
    """
    total = float(count.sum())
    return float((right - confidence).abs().sum()) / total if total else 0.0


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """Return the expected calibration error of answers and their confidence, in [0, 1].

    See `bin_counts` for the shapes.
    """
    return error_from_bins(*bin_counts(confidence, correct, bins))


def brier_score(probs: Tensor, label: Tensor) -> float:
    """Return the mean squared distance of (rows, labels) probabilities from the truth, in [0, 2].

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    truth = torch.nn.functional.one_hot(label, probs.size(-1)).to(probs)
    return float((probs - truth).pow(2).sum(dim=-1).mean())


def separation(confidence: Tensor, correct: Tensor) -> float:
    """Return how well confidence tells right answers from wrong: the area under its ROC curve.

    0.5 is chance, 1.0 perfect; NaN if all answers are right or all are wrong. See `bin_counts`
    for the shapes.
    """
    if bool(correct.all()) or not bool(correct.any()):
        return math.nan
    return float(roc_auc_score(correct.numpy(), confidence.numpy()))


class ExitCalibration(NamedTuple):
    """Say how well one exit's confidence is calibrated on some rows."""

    temperature: float
    nll: float
    calibration_error: float
    brier: float
    auroc: float


def assess(logits: Tensor, label: Tensor, temperature: float) -> ExitCalibration:
    """Return all measures for one exit's (rows, labels) logits at a temperature."""
    probs = torch.softmax(logits.double() / temperature, dim=-1)
    confidence, predicted = probs.max(dim=-1)
    correct = predicted == label
    return ExitCalibration(
        temperature,
        nll(logits, label, temperature),
        expected_calibration_error(confidence, correct),
        brier_score(probs, label),
        separation(confidence, correct),
    )
