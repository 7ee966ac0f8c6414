"""Check the settings that users send, once, and turn them into numbers to run by."""

import math
from typing import Any, ClassVar, Dict, Mapping, Optional

from numpy import ndarray

from sledgehammer.policies.evidence import Exits
from sledgehammer.policies.settings import RowSettings, SettingRange

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

    def check_within_model(self, name: str, value: Optional[float]) -> None:
        """Raise a `ValueError` if no exit of the model can do what a setting says."""

    def settings_for(self, requested: Mapping[str, Any], rows: Optional[int] = None) -> RowSettings:
        """Check what a user sent, and return the settings of the row or rows that it is for.

        # Parameters

        requested : `Mapping[str, Any]`
            By name; the policy's own values stand for those left out. `RowSettings` are returned as
            they are.
        rows : `int`, optional
            How many rows the settings are for: a value may then also be a sequence, with one number
            a row. If `None`, each value is one number.

        # Raises

        `ValueError` for an unknown setting, an invalid value, or too few or too many of them.
        """
        if isinstance(requested, RowSettings):
            return requested
        self._check_names(requested)
        checked: Dict[str, Any] = {}
        for name, value in requested.items():
            is_array = isinstance(value, ndarray) and value.ndim > 0
            if rows is None or not (is_array or isinstance(value, (list, tuple))):
                checked[name] = self._checked(name, value)
            elif len(value) != rows:
                raise ValueError(f"{len(value)} values of {name} for {rows} texts")
            else:
                checked[name] = [self._checked(name, one) for one in value]
        return RowSettings({**self._current_values(), **checked})

    def _check_names(self, requested: Mapping[str, Any]) -> None:
        for name in requested:
            if name not in self.settings:
                raise ValueError(
                    f"the policy {self.name!r} has no setting {name!r}; it has "
                    + ", ".join(self.settings)
                )

    def _checked(self, name: str, value: Any) -> Optional[float]:
        checked = self.settings[name].checked(value, name)
        if self.exits is not None:
            self.check_within_model(name, checked)
        return checked

    def _current_values(self) -> Dict[str, Optional[float]]:
        return {name: getattr(self, name) for name in self.settings}

    def change(self, requested: Mapping[str, Any]) -> None:
        """Change settings of the policy itself.

        # Raises

        `ValueError` for an unknown setting or an invalid value; then none is changed.
        """
        self._check_names(requested)
        checked = {name: self._checked(name, value) for name, value in requested.items()}
        for name, value in checked.items():
            setattr(self, name, value)

    @property
    def swept(self) -> Any:
        """Return the value of the setting that a trade-off sweeps."""
        return getattr(self, self.sweeps)

    @swept.setter
    def swept(self, value: float) -> None:
        setattr(self, self.sweeps, value)

    @property
    def full(self) -> float:
        """Return the value of the swept setting at which nothing stops early."""
        return self.settings[self.sweeps].full

    @property
    def values(self) -> RowSettings:
        """Return the policy's own settings, for any number of rows."""
        return RowSettings(self._current_values())
