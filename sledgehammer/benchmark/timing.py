"""Wall-clock times that can be compared: taken in turns, in one run."""

import gc
import time
from dataclasses import dataclass
from typing import Callable, Dict, Hashable, List, Mapping, TypeVar

import numpy as np
import torch
from allennlp.common import Tqdm

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Timing:
    """Seconds that something took, a round each."""

    rounds: List[float]

    @property
    def median(self) -> float:
        return float(np.median(self.rounds))

    @property
    def quartiles(self) -> List[float]:
        """The middle half of the rounds lies between these two."""
        return np.percentile(self.rounds, [25, 75]).tolist()

    def ratio(self, reference: "Timing") -> "Timing":
        """`reference` / this, round by round: how many times faster this is."""
        return Timing([other / own for own, other in zip(self.rounds, reference.rounds)])


def alternate(
    variants: Mapping[Name, Callable[[], object]], rounds: int, warm_up: int = 1
) -> Dict[Name, Timing]:
    """Time several ways of doing something in turns, each next round in the reverse order.

    What else the machine does then falls on all of them alike, so that their ratios hold where
    the times themselves do not.
    """
    times: Dict[Name, List[float]] = {name: [] for name in variants}
    names = list(variants)
    gc.collect()
    for number in Tqdm.tqdm(range(-warm_up, rounds), "timing"):
        for name in names if number % 2 == 0 else reversed(names):
            _wait_for_device()
            began = time.perf_counter()
            variants[name]()
            _wait_for_device()
            if number >= 0:
                times[name].append(time.perf_counter() - began)
    return {name: Timing(rounds_) for name, rounds_ in times.items()}


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
