"""Policies as AllenNLP knows its classes: by name in a config, with its errors."""

from contextlib import contextmanager
from typing import Any, Iterator, List, Mapping, Tuple, Type

from allennlp.common import Params, Registrable
from allennlp.common.checks import ConfigurationError

from sledgehammer.policies import ExitPolicy


class RegisteredPolicy(ExitPolicy, Registrable):  # type: ignore[misc]
    """AllenNLP's door to the policies, which themselves can do without AllenNLP.

    As the type of a constructor's argument it makes a config's `"policy"` a policy:
    `{"type": "patience", "patience": 3}`, or with the default type `{"threshold": 0.8}`. All names
    are those of `ExitPolicy`, where policies are registered too.
    """

    default_implementation = "confidence"

    @classmethod
    def from_params(cls, params: Any, **extras: Any) -> ExitPolicy:  # type: ignore[override]
        """The policy of a config, or of a name alone.

        # Raises

        `ConfigurationError` for a type or setting that there is not, or a bad value.
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
        """All names, the default's first."""
        others = [n for n in ExitPolicy.list_available() if n != cls.default_implementation]
        return [cls.default_implementation, *others]


def make_policy(config: Mapping[str, Any]) -> ExitPolicy:
    """`ExitPolicy.make`; what is wrong is a `ConfigurationError`."""
    with configuration_errors():
        return ExitPolicy.make({"type": RegisteredPolicy.default_implementation, **config})


@contextmanager
def configuration_errors() -> Iterator[None]:
    """What policies find wrong, as AllenNLP's error for it."""
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
