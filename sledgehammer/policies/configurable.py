"""Check the settings that users send, once, and turn them into numbers to run by."""

import math
from typing import Any, ClassVar, Dict, Mapping, Optional

import numpy as np
from numpy import ndarray

from sledgehammer.policies.evidence import Exits
from sledgehammer.policies.settings import (
    OTHERS,
    RowSettings,
    SettingRange,
    Values,
    of_labels,
    of_rows,
)

_UNGIVEN: Any = object()
_CAP = SettingRange(default=None, low=-1, high=math.inf, whole=True, optional=True)


class Configurable:
    """Hold the settings of a policy, one attribute each, and make `RowSettings` of them."""

    name: ClassVar[str]
    """What configs call the policy; `ExitPolicy.register` sets it."""
    settings: ClassVar[Dict[str, SettingRange]] = {}
    sweeps: ClassVar[str]
    """The setting that a trade-off sweeps."""

    exits: Optional[Exits] = None
    """The exits of the model, once `bind` has been called."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.settings = {**cls.settings, "max_exit_layer": _CAP}

    def __init__(self, swept: Any = _UNGIVEN, /, **values: Any) -> None:
        if swept is not _UNGIVEN:
            values[self.sweeps] = swept
        for name, setting in self.settings.items():
            setattr(self, name, setting.default)
        self.change(values)

    def check_within_model(self, name: str, value: Any) -> None:
        """Raise a `ValueError` if no exit of the model can do what a setting says."""

    def settings_for(
        self,
        requested: Mapping[str, Any],
        rows: Optional[int] = None,
        base: Optional[RowSettings] = None,
    ) -> RowSettings:
        """Check what a user sent, and return the settings of the row or rows that it is for.

        # Parameters

        requested : `Mapping[str, Any]`
            By name. Where a setting may differ from label to label, a value may be a map from
            labels to numbers. `RowSettings` are returned as they are.
        rows : `int`, optional
            How many rows the settings are for: a value may then also be a sequence, with one number
            a row. If `None`, each value is one number.
        base : `RowSettings`, optional
            What stands for the settings, and the labels, that are left out; the policy's own values
            if `None`.

        # Raises

        `ValueError` for an unknown setting, an invalid value, or too few or too many of them.
        """
        if isinstance(requested, RowSettings):
            return requested
        self._check_names(requested)
        base = self.values if base is None else base
        checked: Dict[str, Any] = {}
        for name, value in requested.items():
            is_array = isinstance(value, ndarray) and value.ndim > 0
            if rows is None or not (is_array or isinstance(value, (list, tuple))):
                checked[name] = self._resolved(self._checked(name, value), base[name])
            elif len(value) != rows:
                raise ValueError(f"{len(value)} values of {name} for {rows} texts")
            else:
                each = (self._resolved(self._checked(name, one), base[name]) for one in value)
                checked[name] = of_rows(list(each))
        return RowSettings({**base, **checked})

    def _check_names(self, requested: Mapping[str, Any]) -> None:
        for name in requested:
            if name not in self.settings:
                raise ValueError(
                    f"the policy {self.name!r} has no setting {name!r}; it has "
                    + ", ".join(self.settings)
                )

    def _checked(self, name: str, value: Any) -> Any:
        checked = self.settings[name].checked(value, name)
        if self.exits is not None:
            self.check_within_model(name, checked)
        return checked

    def _resolved(self, value: Any, others: Optional[Values]) -> Any:
        """Return a map from labels as an array, (1, labels), and anything else as it is."""
        if not isinstance(value, dict):
            return value
        if self.exits is None:
            raise ValueError("thresholds by label need a model: call `bind` first")
        return of_labels(value, self.exits.labels, others)

    def _current_values(self) -> Dict[str, Any]:
        return {name: getattr(self, name) for name in self.settings}

    def change(self, requested: Mapping[str, Any]) -> None:
        """Change settings of the policy itself. A map from labels changes what it names alone.

        # Raises

        `ValueError` for an unknown setting or an invalid value; then none is changed.
        """
        self._check_names(requested)
        checked = {name: self._checked(name, value) for name, value in requested.items()}
        for name, value in checked.items():
            setattr(self, name, self._merged(getattr(self, name), value))

    @staticmethod
    def _merged(old: Any, new: Any) -> Any:
        """Return a new value; a map from labels completed by the old one."""
        if not isinstance(new, dict):
            return new
        kept = {} if old is None else old if isinstance(old, dict) else {OTHERS: old}
        return {**kept, **new}

    @property
    def swept(self) -> Any:
        """Return the value of the setting that a trade-off sweeps.

        Where labels have values of their own, it is that of the others.
        """
        value = getattr(self, self.sweeps)
        return value.get(OTHERS) if isinstance(value, dict) else value

    @swept.setter
    def swept(self, value: float) -> None:
        own = getattr(self, self.sweeps)
        setattr(self, self.sweeps, {**own, OTHERS: value} if isinstance(own, dict) else value)

    @property
    def swept_shown(self) -> str:
        """Return the value of the swept setting as a line of output shows it."""
        value = getattr(self, self.sweeps)
        if isinstance(value, dict):
            return ", ".join(f"{label} {one:g}" for label, one in value.items())
        return f"{self.values[self.sweeps]:g}"

    @property
    def has_fixed_labels(self) -> bool:
        """Return whether some labels have values of their own, which a trade-off leaves alone."""
        return isinstance(getattr(self, self.sweeps), dict)

    def values_at(self, swept: Optional[float]) -> RowSettings:
        """Return the policy's own settings with another value, not checked, of the swept one."""
        own = getattr(self, self.sweeps)
        if isinstance(own, dict):
            changed = {**own, OTHERS: np.inf if swept is None else swept}
            return self.values.with_value(self.sweeps, self._resolved(changed, None))
        return self.values.with_value(self.sweeps, swept)

    def sweep_to(self, value: float) -> None:
        """Change the swept setting; labels with values of their own keep them.

        # Raises

        `ValueError` for an invalid value.
        """
        self.change({self.sweeps: {OTHERS: value} if self.has_fixed_labels else value})

    @property
    def full(self) -> float:
        """Return the value of the swept setting at which nothing stops early."""
        return self.settings[self.sweeps].full

    @property
    def values(self) -> RowSettings:
        """Return the policy's own settings, for any number of rows."""
        return RowSettings({n: self._resolved(v, None) for n, v in self._current_values().items()})
