"""Check the type and the range of every field of an exported model's manifest."""

import math
import re
from pathlib import PurePosixPath
from typing import Any, Callable, Dict, List, Mapping

from sledgehammer.support.jsonl import is_text

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
PRECISIONS = ("fp32", "bf16", "int8", "int8-dynamic")
ACTIVATION_SCALES = ("", "token", "model", "batch")
SIGNALS = ("certainty", "depth")
LONG_TEXTS = ("truncate", "head_tail")
"""What can be kept of a text with too many word pieces: its beginning, or its beginning and end."""
LIMIT = 1 << 20
"""Numbers and lengths of lists are below this: no model has as many pieces, layers or labels."""

_SHA256 = re.compile("[0-9a-f]{64}")


def problem_in(fields: Mapping[str, Any]) -> str:
    """Return what is wrong with the fields of a `Manifest`, or an empty string."""
    for name, (is_valid, expected) in _FIELDS.items():
        if not is_valid(fields[name]):
            return f"{name} must be {expected}, got {_shown(fields[name])}"
    return _disagreement(fields)


def _disagreement(fields: Mapping[str, Any]) -> str:
    layers = fields["exit_layers"]
    if layers[-1] >= fields["full_layers"]:
        return f"exit_layers must lie below full_layers, {fields['full_layers']}, got {layers}"
    lexical = layers[0] == -1
    wanted = {
        "segments": len(layers) - lexical,
        "temperatures": len(layers),
        "mixing": len(layers) if lexical else 0,
    }
    for name, count in wanted.items():
        if len(fields[name]) != count:
            return f"{name} must have an entry for each exit: {count}, got {len(fields[name])}"
    if any(len(row) != 1 + len(layers) for row in fields["exit_shares"]):
        return f"exit_shares must have rows of {1 + len(layers)} numbers"
    return ""


def _shown(value: Any) -> str:
    # Not `repr` of the whole value: a manifest may be nested as deeply as JSON can be.
    kinds = {list: "a list", dict: "an object"}
    return next((word for kind, word in kinds.items() if isinstance(value, kind)), f"{value!r:.80}")


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < LIMIT


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) < 1e300 and math.isfinite(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value and is_text(value)


def _is_path(value: Any) -> bool:
    """Return whether this is a plain relative path; `manifest` checks where it leads."""
    return _is_name(value) and "\\" not in value and str(PurePosixPath(value)) == value


def _all_different(is_valid: Callable[[Any], bool], least: int = 1) -> Callable[[Any], bool]:
    """Return a check for lists of at least so many different, valid values."""

    def check(value: Any) -> bool:
        return (
            isinstance(value, list)
            and least <= len(value) < LIMIT
            and all(map(is_valid, value))
            and len(set(value)) == len(value)
        )

    return check


def _are_layers(value: Any) -> bool:
    are_different = _all_different(lambda layer: _is_whole(layer, -1))
    return are_different(value) and sorted(value) == value and value != [-1]


def _are_multiples(value: Any) -> bool:
    return isinstance(value, list) and all(_is_number(m) and m >= 0 for m in value)


def _are_temperatures(value: Any) -> bool:
    return isinstance(value, list) and all(_is_number(t) and t > 0 for t in value)


def _are_shares(value: Any) -> bool:
    """Return whether these are rows of a threshold and the share that each exit answers at it."""
    rows: List[Any] = value if isinstance(value, list) else [None]
    return all(isinstance(row, list) and len(row) > 1 and _is_share_row(row) for row in rows)


def _is_share_row(row: List[Any]) -> bool:
    return all(_is_number(n) and 0 <= n <= 1 for n in row) and abs(sum(row[1:]) - 1) < 1e-3


def _is_object(is_key: Callable[[Any], bool], is_value: Callable[[Any], bool]) -> Any:
    """Return a check for objects with valid keys and values."""

    def check(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and all(map(is_key, value))
            and all(map(is_value, value.values()))
        )

    return check


def _is_file(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"bytes", "sha256"}
        and isinstance(value["bytes"], int)
        and value["bytes"] >= 0
        and _is_sha256(value["sha256"])
    )


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and bool(_SHA256.fullmatch(value))


def _is_source(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("archive"), str)
        and _is_sha256(value.get("weights_sha256"))
        and isinstance(value.get("fingerprint", ""), str)
    )


def _is_policy(value: Any) -> bool:
    return isinstance(value, dict) and _is_name(value.get("type"))


def _are_inputs(value: Any) -> bool:
    return _all_different(INPUTS.__contains__)(value) and set(INPUTS[:2]) <= set(value)


_FIELDS: Dict[str, Any] = {
    "runtime": (_is_name, "the name of a runtime"),
    "precision": (PRECISIONS.__contains__, f"one of {', '.join(PRECISIONS)}"),
    "exit_layers": (_are_layers, "increasing layers, counted from 0 (-1: before the first)"),
    "full_layers": (lambda value: _is_whole(value, 1), "a number of layers"),
    "segments": (_all_different(_is_path), "different paths within the directory"),
    "labels": (_all_different(_is_name), "different names"),
    "temperatures": (_are_temperatures, "numbers above 0"),
    "policy": (_is_policy, "the config of a policy, with its type"),
    "inputs": (_are_inputs, f"some of {', '.join(INPUTS)}"),
    "fields": (
        lambda value: _all_different(_is_name)(value) and len(value) <= 2,
        "the names of one text or two",
    ),
    "max_length": (lambda value: _is_whole(value, 3), "a number of word pieces, at least 3"),
    "pad_token_id": (lambda value: isinstance(value, int) and 0 <= value < 1 << 31, "a word piece"),
    "source": (_is_source, "an archive and the SHA-256 of its weights"),
    "versions": (_is_object(_is_name, _is_name), "versions of libraries"),
    "signals": (_all_different(SIGNALS.__contains__, least=0), f"some of {', '.join(SIGNALS)}"),
    "exit_shares": (_are_shares, "rows of a threshold and one share an exit"),
    "activation_scales": (
        ACTIVATION_SCALES.__contains__,
        f"one of {', '.join(filter(None, ACTIVATION_SCALES))}, or empty",
    ),
    "mixing": (_are_multiples, "numbers of at least 0"),
    "long_texts": (LONG_TEXTS.__contains__, f"one of {', '.join(LONG_TEXTS)}"),
    "timings": (lambda value: isinstance(value, dict), "what was timed, by name"),
    "files": (_is_object(_is_name, _is_file), "bytes and SHA-256 by path"),
}
