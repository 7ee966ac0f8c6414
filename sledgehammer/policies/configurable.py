"""The settings of a policy: where what users send is checked and becomes numbers to run by."""

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
    """The model's, once `bind` was called."""

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

    def settings_for(self, given: Mapping[str, Any], rows: Optional[int] = None) -> RowSettings:
        """Check what users send, and return the settings of the row or rows that it is for.

        # Parameters

        given : `Mapping[str, Any]`
            By name; what is not in it is the policy's own. `RowSettings` are returned as they are.
        rows : `int`, optional
            A value may also be a sequence, one number for each of so many rows. If `None`, it is
            one number.

        # Raises

        `ValueError` for an unknown setting, an invalid value, or too few or too many of them.
        """
        if isinstance(given, RowSettings):
            return given
        self._check_names(given)
        checked: Dict[str, Any] = {}
        for name, value in given.items():
            is_array = isinstance(value, ndarray) and value.ndim > 0
            if rows is None or not (is_array or isinstance(value, (list, tuple))):
                checked[name] = self._checked(name, value)
            elif len(value) != rows:
                raise ValueError(f"{len(value)} values of {name} for {rows} texts")
            else:
                checked[name] = [self._checked(name, one) for one in value]
        return RowSettings({**self._own(), **checked})

    def _check_names(self, given: Mapping[str, Any]) -> None:
        for name in given:
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

    def _own(self) -> Dict[str, Optional[float]]:
        return {name: getattr(self, name) for name in self.settings}

    def change(self, given: Mapping[str, Any]) -> None:
        """Make settings the policy's own.

        # Raises

        `ValueError` for an unknown setting or an invalid value; then none is changed.
        """
        self._check_names(given)
        checked = {name: self._checked(name, value) for name, value in given.items()}
        for name, value in checked.items():
            setattr(self, name, value)

    @property
    def swept(self) -> Any:
        """The setting that a trade-off sweeps."""
        return getattr(self, self.sweeps)

    @swept.setter
    def swept(self, value: float) -> None:
        setattr(self, self.sweeps, value)

    @property
    def full(self) -> float:
        """The value of the swept setting at which nothing stops early."""
        return self.settings[self.sweeps].full

    @property
    def values(self) -> RowSettings:
        """The policy's own settings, for any number of rows."""
        return RowSettings(self._own())
