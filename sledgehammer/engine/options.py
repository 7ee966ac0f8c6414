"""The options of command lines that set the policy of an exported model."""

import argparse
from typing import Any, Dict

from sledgehammer.policies import check_for_some_policy, settings_in
from sledgehammer.support.arguments import threshold
from sledgehammer.support.usage import UsageError


def add_settings(parser: Any, use: str) -> None:
    """Add `--threshold` and `--setting`.

    # Parameters

    use : `str`
        What the threshold is for, in its help.
    """
    parser.add_argument(
        "--threshold", type=threshold, metavar="T",
        help=f'{use}: a number, or one a label: {{"spam": 0.99}}',
    )  # fmt: skip
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE",
        help="another setting of the policy, such as max_exit_layer=5 (repeatable)",
    )  # fmt: skip


def settings_of(parsed: argparse.Namespace) -> Dict[str, Any]:
    """Return the policy's settings that the options give.

    # Raises

    `UsageError` for a setting that no policy has, or a value that none allows.
    """
    settings: Dict[str, Any] = {}
    for text in parsed.setting:
        name, _, value = text.partition("=")
        try:
            settings[name] = float(value)
        except ValueError:
            raise UsageError(f"--setting takes NAME=NUMBER, got {text!r:.80}") from None
    if parsed.threshold is not None:
        settings["threshold"] = parsed.threshold
    if unknown := set(settings) - set(settings_in(settings)):
        raise UsageError(f"no policy has a setting {sorted(unknown)[0]!r}")
    try:
        check_for_some_policy(settings)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return settings
