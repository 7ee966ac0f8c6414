"""Find the settings in what users send, even before it is known which policy decides."""

from typing import Any, Dict, Mapping

from sledgehammer.policies.base import ExitPolicy


def settings_in(line: Mapping[str, Any], nulls: bool = False) -> Dict[str, Any]:
    """Return what a JSON object says of settings, of whichever policy.

    # Parameters

    nulls : `bool`, optional (default = `False`)
        Whether to return settings that are null, too.
    """
    known = {name for policy in ExitPolicy._registry.values() for name in policy.settings}
    return {n: value for n, value in line.items() if n in known and (nulls or value is not None)}


def check_for_some_policy(requested: Mapping[str, Any]) -> None:
    """Raise a `ValueError` if no policy that has a setting takes its value.

    Use it where it is not yet known which policy decides.
    """
    for name, value in requested.items():
        ranges = [p.settings[name] for p in ExitPolicy._registry.values() if name in p.settings]
        problems = [problem for r in ranges if (problem := r.problem(value, name))]
        if value is not None and ranges and len(problems) == len(ranges):
            raise ValueError(problems[0])
