"""Let AllenNLP's configs name policies, with AllenNLP's errors."""

from contextlib import contextmanager
from typing import Any, Iterator, List, Mapping, Tuple, Type

from allennlp.common import Params, Registrable
from allennlp.common.checks import ConfigurationError

from sledgehammer.policies import ExitPolicy


class RegisteredPolicy(ExitPolicy, Registrable):  # type: ignore[misc]
    """Make policies from configs; the policies themselves do without AllenNLP.

    An argument of this type turns the `"policy"` of a config into a policy:
    `{"type": "patience", "patience": 3}`, or with the default type `{"threshold": 0.8}`. Policies
    are registered, and named, with `ExitPolicy`.
    """

    default_implementation = "confidence"

    @classmethod
    def from_params(cls, params: Any, **extras: Any) -> ExitPolicy:  # type: ignore[override]
        """Return the policy that a config describes, or a name alone.

        # Raises

        `ConfigurationError` for an unknown type or setting, or an invalid value.
        """
        if isinstance(params, ExitPolicy):
            return params
        config = params.as_dict(quiet=True) if isinstance(params, Params) else params
        return make_policy({"type": config} if isinstance(config, str) else config)

    @classmethod
    def resolve_class_name(cls, name: str) -> Tuple[Type[ExitPolicy], None]:  # type: ignore[override]
        with configuration_errors():
            return ExitPolicy.by_name(name), None

    @classmethod
    def list_available(cls) -> List[str]:
        """Return all names, the default's first."""
        others = [n for n in ExitPolicy.list_available() if n != cls.default_implementation]
        return [cls.default_implementation, *others]


def make_policy(config: Mapping[str, Any]) -> ExitPolicy:
    """Return the policy that a config describes, or raise a `ConfigurationError`."""
    with configuration_errors():
        return ExitPolicy.make({"type": RegisteredPolicy.default_implementation, **config})


@contextmanager
def configuration_errors() -> Iterator[None]:
    """Turn the errors of policies into `ConfigurationError`s."""
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
