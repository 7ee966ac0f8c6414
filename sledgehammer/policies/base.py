"""Define what all exit policies share. It needs numpy alone, as exported engines do."""

from typing import (
    Any,
    Callable,
    ClassVar,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
)

import numpy as np
from numpy import ndarray

from sledgehammer.policies.configurable import Configurable
from sledgehammer.policies.evidence import Evidence, Exits
from sledgehammer.policies.settings import Decision, RowSettings, check_labels, single

_UNBOUND = "the policy has no model: call `bind`"

Registered = TypeVar("Registered", bound=Type["ExitPolicy"])


class ExitPolicy(Configurable):
    """Decide for each row whether the exit just computed answers it.

    A decision is made per row and from that row alone, so that it is the same in every batch.
    The last exit always answers; a policy is not asked there.

    A policy is a class with a name, its `settings`, the name of the setting that a trade-off
    `sweeps`, and `stops`. The swept setting is its only positional argument; all others are given
    by name. Beside its own settings, every policy takes:

    # Parameters

    max_exit_layer : `int`, optional
        No row runs beyond this layer, counted from 0: rows that get so far are answered by the
        highest exit at or below it. -1 is the lexical exit, before the first layer, in models
        that have one.

    # Raises

    `ValueError` for an unknown setting or an invalid value.
    """

    needs: ClassVar[Tuple[str, ...]] = ()
    """The learned signals that the policy looks at."""

    max_exit_layer: Optional[int]

    _registry: ClassVar[Dict[str, Type["ExitPolicy"]]] = {}

    # ---- names

    @classmethod
    def register(cls, name: str, exist_ok: bool = False) -> Callable[[Registered], Registered]:
        """Return a decorator that makes a policy known under a name.

        # Raises

        `ValueError` if another policy has the name, unless `exist_ok`.
        """

        def add(policy: Registered) -> Registered:
            if name in ExitPolicy._registry and not exist_ok:
                raise ValueError(f"there is a policy {name!r} already")
            policy.name = name
            ExitPolicy._registry[name] = policy
            return policy

        return add

    @classmethod
    def by_name(cls, name: str) -> Type["ExitPolicy"]:
        """Return the policy class of that name.

        # Raises

        `ValueError` if there is none.
        """
        if name not in ExitPolicy._registry:
            raise ValueError(
                f"there is no policy {name!r}; there are {', '.join(cls.list_available())} (import "
                "a policy of your own first)"
            )
        return ExitPolicy._registry[name]

    @classmethod
    def list_available(cls) -> List[str]:
        """Return the names of all policies, in alphabetical order."""
        return sorted(ExitPolicy._registry)

    @staticmethod
    def make(config: Mapping[str, Any]) -> "ExitPolicy":
        """Return the policy that a config describes, such as `{"type": "patience", "patience": 3}`.

        # Raises

        `ValueError` for an unknown type or setting, or an invalid value.
        """
        values = dict(config)
        return ExitPolicy.by_name(values.pop("type", "confidence"))(**values)

    def config(self) -> Dict[str, Any]:
        """Return the config from which `make` makes the same policy."""
        values = {n: value for n, value in self._current_values().items() if value is not None}
        return {"type": self.name, **values}

    # ---- the model

    def bind(self, exits: Exits) -> None:
        """Decide for this model from now on.

        # Raises

        `ValueError` if the model lacks a signal, or none of its exits is within a setting's limits.
        """
        missing = [name for name in self.needs if name not in exits.signals]
        if missing:
            names = ", ".join(f'"{name}"' for name in missing)
            raise ValueError(
                f"the policy {self.name!r} needs a signal that this model does not have: train it "
                f'with "model.signals": [{names}]'
            )
        self.exits = exits
        for name in self.settings:
            self.check_within_model(name, getattr(self, name))
        swept = self.settings[self.sweeps]
        self._full, self._rises = single(self.full), swept.full > swept.fastest

    def check_within_model(self, name: str, value: Any) -> None:
        """Raise a `ValueError` if no exit of the model can do what a setting says."""
        if isinstance(value, dict):
            assert self.exits is not None, _UNBOUND
            check_labels(value, self.exits.labels, name)
        if name == "max_exit_layer" and value is not None and value < self.layers[0]:
            raise ValueError(
                f"max_exit_layer must be at least {self.layers[0]}, the layer of the first exit, "
                f"got {value}"
            )

    def unready(self) -> Optional[str]:
        """Return what must be done to the model before the policy can decide, if anything."""
        return None

    @property
    def layers(self) -> Sequence[int]:
        """Return the layers of the model's exits."""
        assert self.exits is not None, _UNBOUND
        return self.exits.layers

    # ---- decisions

    def never(self, settings: RowSettings) -> Decision:
        """Return where the swept setting says that nothing stops early."""
        assert self.exits is not None, _UNBOUND
        value = settings[self.sweeps]
        return value >= self._full if self._rises else value <= self._full

    def stops(self, evidence: Evidence, settings: RowSettings) -> Decision:
        """Return which rows the policy would stop here.

        What all policies have in common, `decide` adds: the last exit, the cap, and the value at
        which nothing stops early.
        """
        raise NotImplementedError

    def decide(self, evidence: Evidence, settings: RowSettings) -> Decision:
        """Return which rows stop at the exit just computed, which is not the last one.

        # Parameters

        evidence : `Evidence`
        settings : `RowSettings`
        """
        capped = self.layers[evidence.seen] > settings["max_exit_layer"]
        never = self.never(settings)
        if isinstance(never, ndarray):
            return (self.stops(evidence, settings) & ~never) | capped
        # All rows have the same settings, which saves work.
        if never or capped is True:
            return capped
        stops = self.stops(evidence, settings)
        return stops | capped if isinstance(capped, ndarray) else stops

    def plan(
        self, rows: int, signals: Mapping[str, ndarray], settings: RowSettings
    ) -> Optional[ndarray]:
        """Return the exits that answer, if they are known before any is computed.

        # Parameters

        rows : `int`
            How many rows there are.
        signals : `Mapping[str, ndarray]`
            The signals that follow from the embeddings alone.

        # Returns

        Positions of exits, (rows,); `None` if that depends on what the exits say.
        """
        never = self.never(settings)
        if not (never.all() if isinstance(never, ndarray) else never):
            return None
        return np.broadcast_to(self.highest(settings), (rows,))

    def highest(self, settings: RowSettings) -> ndarray:
        """Return the position of the highest exit that the cap allows: () or (rows,)."""
        return np.searchsorted(self.layers, settings["max_exit_layer"], side="right") - 1

    def replay(self, evidence: Evidence, settings: Optional[RowSettings] = None) -> ndarray:
        """Return the position of the exit that would answer each row, from all exits: (rows,)."""
        settings = self.values if settings is None else settings
        rows, exits, _ = evidence.probs.shape
        answered_by = np.full(rows, exits - 1)
        going = np.arange(rows)
        for position in range(exits - 1):
            if not len(going):
                break
            so_far = evidence.upto(position + 1).rows(going)
            stops = self.decide(so_far, settings.of(going))
            stops = np.broadcast_to(np.asarray(stops), going.shape)
            answered_by[going[stops]] = position
            going = going[~stops]
        return answered_by

    # ---- the curve

    def grid(self, labels: int) -> List[float]:
        """Return values of the swept setting that show the whole curve, whatever the data.

        The fastest comes first, the full model last.
        """
        raise NotImplementedError

    def distinct(self, evidence: Evidence) -> List[float]:
        """Return every value of the swept setting at which an answer changes.

        They come in the order of `grid`; a policy that can't tell returns its grid.

        # Parameters

        evidence : `Evidence`
            What all exits say of the rows.
        """
        return self.grid(evidence.probs.shape[2])

    def in_stream(self) -> "ExitPolicy":
        """Return the policy that decides for the rows of one stream.

        That is this policy, unless what a row may cost depends on the rows before it: then it is a
        policy with a memory, which must be asked about every row at every exit that it reaches.
        """
        return self
