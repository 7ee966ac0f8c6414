"""The order of the package's rooms: imports run downward only, and never in a circle."""

import ast
from pathlib import Path
from typing import Dict, Iterator, List, Set

import pytest

import sledgehammer
from tests.conftest import ROOT

FLOORS = [
    ["__main__", "estimator"],
    ["plugin", "api"],
    ["commands"],
    ["analysis", "training", "export", "benchmark", "_serving", "_scoring", "monitoring", "hub"],
    ["model"],
    ["dataset_readers"],
    ["objectives", "cards"],
    ["network", "engine"],
    ["policies", "lexical", "calibration", "support"],
    ["__init__"],
]
"""From the top of the house to its foundation."""

PACKAGE = ROOT / "sledgehammer"
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES_AT_THE_DOOR = {"engine"}
"""`from sledgehammer import engine` imports a module, which `imports_of` sees."""

MODULES = {name_of(file) for file in FILES}


def imports_of(file: Path) -> Iterator[str]:
    """Yield the modules of this package that a file imports, within functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "") in MODULES:
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_import_runs_upward(file: Path) -> None:
    room = room_of(name_of(file))
    for module in imports_of(file):
        other = room_of(module)
        assert other == room or FLOOR_OF[room] <= FLOOR_OF[other], f"{file} imports {module}"


def test_the_names_of_the_front_door_are_for_users_only() -> None:
    """They are loaded when first used, from above: a module that used them would look upward."""
    lazy = set(sledgehammer.__all__) - {"__version__"}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "sledgehammer":
                named = {alias.name for alias in node.names}
                assert not named & (lazy - MODULES_AT_THE_DOOR), f"{file} imports {named}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("sledgehammer", n) for n in lazy}, file


def test_no_room_imports_another_that_imports_it() -> None:
    arrows: Dict[str, Set[str]] = {room: set() for room in FLOOR_OF}
    for file in FILES:
        room = room_of(name_of(file))
        arrows[room] |= {room_of(module) for module in imports_of(file)} - {room}
    assert circle(arrows) == []


def test_no_module_imports_another_that_imports_it() -> None:
    assert circle({name_of(f): set(imports_of(f)) - {name_of(f)} for f in FILES}) == []


def circle(arrows: Dict[str, Set[str]]) -> List[str]:
    """Return the nodes that lie on a circle or above one: what is left without bottom nodes."""
    left = {node: set(targets) for node, targets in arrows.items()}
    while bottom := {node for node, targets in left.items() if not targets & left.keys()}:
        left = {node: targets for node, targets in left.items() if node not in bottom}
    return sorted(left)
