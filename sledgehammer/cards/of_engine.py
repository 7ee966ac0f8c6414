"""Gather what the directory of an exported model tells."""

import json
from pathlib import Path
from typing import Any, Dict, Optional

from sledgehammer.cards.facts import Facts, name_of
from sledgehammer.engine.curve import Curve
from sledgehammer.engine.manifest import EngineError, Manifest, read_choice
from sledgehammer.engine.speed import Speed

VERIFICATION = "verification.json"
"""The report of `export --verify`, which holds for the policy that it was made with."""


def facts_of_engine(directory: Path, manifest: Manifest, name: Optional[str] = None) -> Facts:
    """Return what is known of an exported model.

    # Parameters

    manifest : `Manifest`
        That of the directory, which `manifest.read` has checked.
    name : `str`, optional
        What the card calls it; by default see `name_of`.

    # Raises

    `EngineError` if one of its files is damaged.
    """
    conditions = manifest.conditions()
    try:
        curve, speed = Curve.load(directory), Speed.load(directory)
    except ValueError as error:
        raise EngineError(str(error)) from error
    seen = _json(directory / "seen.json")
    settings = conditions.policy.values()
    return Facts(
        name=name or name_of(directory),
        config=_json(directory / "config.json"),
        labels=list(manifest.labels),
        exit_layers=list(manifest.exit_layers),
        full_layers=manifest.full_layers,
        conditions=conditions,
        used_rows={purpose: len(hashes) for purpose, hashes in seen.items() if hashes},
        choice=read_choice(directory),
        curve=curve if curve is not None and curve.is_of(conditions) else None,
        speed=speed if speed is not None and speed.setting in settings else None,
        timings=dict(manifest.timings),
        verification=_json(directory / VERIFICATION),
        exported={
            "runtime": manifest.runtime,
            "precision": manifest.precision,
            "activation_scales": manifest.activation_scales,
        },
        versions=dict(manifest.versions),
    )


def _json(file: Path) -> Dict[str, Any]:
    """Return the object in a file; an empty one if there is no file.

    # Raises

    `EngineError` if it is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
        return content
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{file} is damaged: {error}") from error
