"""Take wall-clock times that can be compared, because they are taken in turns in one run."""

import gc
import time
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, Hashable, List, Mapping, TypeVar

import numpy as np
import torch
from allennlp.common import Tqdm

Name = TypeVar("Name", bound=Hashable)
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Timing:
    """Hold the seconds that something took, a figure for each round."""

    rounds: List[float]

    @property
    def median(self) -> float:
        """Return the median over the rounds."""
        return float(np.median(self.rounds))

    @property
    def quartiles(self) -> List[float]:
        """Return the two figures between which the middle half of the rounds lies."""
        return np.percentile(self.rounds, [25, 75]).tolist()

    def ratio(self, reference: "Timing") -> "Timing":
        """Return `reference` / this, round by round: how many times faster this is."""
        return Timing([other / this for this, other in zip(self.rounds, reference.rounds)])


def take_turns(
    variants: Mapping[Name, Callable[[], Outcome]],
    rounds: int,
    warm_up: int = 1,
    description: str = "timing",
) -> Dict[Name, List[Outcome]]:
    """Call several variants in turns, each round in the reverse order of the one before.

    Whatever else the machine does meanwhile slows all of them alike, so that the ratios of their
    times hold even if the times themselves do not.

    # Parameters

    variants : `Mapping[Name, Callable[[], Outcome]]`
    rounds : `int`
    warm_up : `int`, optional (default = `1`)
        How many rounds to run first, whose outcomes are dropped.
    description : `str`, optional (default = `"timing"`)
        What the progress bar says.

    # Returns

    The outcomes of each variant, one for each round.
    """
    outcomes: Dict[Name, List[Outcome]] = {name: [] for name in variants}
    names = list(variants)
    for number in Tqdm.tqdm(range(-warm_up, rounds), description):
        for name in names if number % 2 == 0 else reversed(names):
            outcome = variants[name]()
            if number >= 0:
                outcomes[name].append(outcome)
    return outcomes


def alternate(
    variants: Mapping[Name, Callable[[], object]], rounds: int, warm_up: int = 1
) -> Dict[Name, Timing]:
    """Time several ways of doing something in turns; see `take_turns`."""
    gc.collect()
    timed = {name: partial(_seconds, variant) for name, variant in variants.items()}
    seconds = take_turns(timed, rounds, warm_up)
    return {name: Timing(rounds_) for name, rounds_ in seconds.items()}


def wait_for_device() -> None:
    """Wait until the GPU, if there is one, has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _seconds(run: Callable[[], object]) -> float:
    wait_for_device()
    began = time.perf_counter()
    run()
    wait_for_device()
    return time.perf_counter() - began
