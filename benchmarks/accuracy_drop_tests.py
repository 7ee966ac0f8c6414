"""Find the tightest of several valid tests of "the accuracy drop is above E".

For several numbers of rows, bounds, and chances of a drop or a gain, it counts how often each test
says "safe" at level D. If the true drop is E, that must happen in at most a share D of the draws
(the size); if it is smaller, as often as possible (the power). Run
`python -m benchmarks.accuracy_drop_tests`.
"""

import argparse
import math
from functools import cache
from itertools import product
from typing import Callable, Dict, List

import numpy as np
from numpy import ndarray
from scipy.special import bdtr, logsumexp
from tabulate import tabulate

from sledgehammer.analysis.exact_test import exact_p_value

Rival = Callable[[ndarray, float, float], float]
"""(losses in the order of the rows, E, D) -> p-value."""


def betting(bets: int) -> Rival:
    """Return the test by a mixture of constant bets, which the package used before.

    With a stake of `lambda`, each row multiplies the wealth by `1 + lambda (E - loss)`; the mean
    over the bets has an expectation of at most 1 (Waudby-Smith and Ramdas, JRSS-B 2023).
    """
    shares = np.linspace(0, 1, bets + 2)[1:-1]

    def p_value(losses: ndarray, bound: float, level: float) -> float:
        stakes = shares / (1 - bound)
        log_wealth = sum(
            (losses == loss).sum() * np.log1p(stakes * (bound - loss)) for loss in (-1, 0, 1)
        )
        return min(1.0, math.exp(-max(0.0, float(logsumexp(log_wealth)) - math.log(bets))))

    return p_value


def sequential(losses: ndarray, bound: float, level: float) -> float:
    """Return the p-value of the largest wealth on the way, in the order of the rows.

    Each stake is computed from the rows before: the mean over the mean square of what a bet would
    have won. Ville's inequality allows us to stop at the best moment.
    """
    won = bound - losses
    number = np.arange(1, len(won))
    mean = np.concatenate([[0.0], (np.cumsum(won)[:-1]) / (number + 1)])
    square = np.concatenate([[0.25], (0.25 + np.cumsum(won**2)[:-1]) / (number + 1)])
    stakes = np.clip(mean / square, 0, 0.9 / (1 - bound))
    log_wealth = np.cumsum(np.log1p(stakes * won))
    return min(1.0, math.exp(-max(0.0, float(log_wealth.max()))))


def hoeffding_bentkus(losses: ndarray, bound: float, level: float) -> float:
    """Return the smaller of Hoeffding's and Bentkus's bounds (Bates et al., JACM 2021).

    The losses are moved to [0, 1] first.
    """
    rows, mean, edge = len(losses), (float(losses.mean()) + 1) / 2, (bound + 1) / 2
    if mean >= edge:
        return 1.0
    entropy = mean * math.log(mean / edge) + (1 - mean) * math.log((1 - mean) / (1 - edge))
    bentkus = math.e * float(bdtr(math.ceil(rows * mean), rows, edge))
    return min(1.0, math.exp(-rows * entropy), bentkus)


@cache
def _exact(b: int, c: int, rows: int, bound: float, level: float) -> float:
    return exact_p_value(b, c, rows, bound, level)


def exact(losses: ndarray, bound: float, level: float) -> float:
    """Return the p-value of the package's own test."""
    b, c = int((losses == 1).sum()), int((losses == -1).sum())
    return _exact(b, c, len(losses), bound, level)


RIVALS: Dict[str, Rival] = {
    "255 bets": betting(255),
    "4095 bets": betting(4095),
    "sequential": sequential,
    "Hoeffding-Bentkus": hoeffding_bentkus,
    "exact": exact,
}


def shares_of_safe(
    rows: int, bound: float, drop: float, gains: float, level: float, draws: int, seed: int = 0
) -> Dict[str, float]:
    """Return how often each test says "safe".

    # Parameters

    drop : `float`
        The true drop. A loss is 1 with a probability of `drop + gains`, and -1 with one of `gains`.
    """
    rng = np.random.default_rng(seed)
    chances = [gains, 1 - drop - 2 * gains, drop + gains]
    counts = dict.fromkeys(RIVALS, 0)
    for _ in range(draws):
        losses = rng.choice([-1, 0, 1], rows, p=chances)
        for name, rival in RIVALS.items():
            counts[name] += rival(losses, bound, level) <= level
    return {name: count / draws for name, count in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--delta", type=float, default=0.1)
    arguments = parser.parse_args()
    table: List[Dict[str, str]] = []
    cases = product((200, 872, 2693), (0.01, 0.02, 0.05), (1.0, 0.5), (0.002, 0.02))
    for rows, bound, share, gains in cases:
        safe = shares_of_safe(rows, bound, share * bound, gains, arguments.delta, arguments.draws)
        case = {
            "rows": str(rows),
            "E": f"{bound:g}",
            "true drop": f"{share * bound:g}",
            "gains": f"{gains:.1%}",
        }
        table.append({**case, **{name: f"{value:.1%}" for name, value in safe.items()}})
    print(tabulate(table, headers="keys", tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
