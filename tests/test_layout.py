"""Imports run one way: benchmarks -> spotting, experiments -> the scripts -> models -> data; and so within each."""

import ast
import subprocess
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from data.base.files import ROOT

SCRIPTS = ("TripletEncoder", "TripletClassifier", "infer_train", "infer_notl")
FLOORS = (("data",), ("models",), SCRIPTS, ("experiments", "spotting"), ("benchmarks",))  # from the ground up
COMMANDS = ("enroll", "find", "listen", "score", "cohort", "export")  # of spotting
# What lies on the ground of a package: what the rooms above it share. A room may import only rooms before it.
ROOMS = {
    "data": ("base", "manifests", ("audio", "phonetics"), "sources", ("sampler", "augment", "align"),
             ("check", "degrade", "speech_commands", "libriwords", "folder", "windows", "demo")),
    "models": (("context", "parallel"), ("runs", "losses"), "encoders", ("neighbours", "enrolment", "teachers"),
               "report", "training"),
    "spotting": ("sound", "encoders", "words", "hits", "detection", "stream", "command", COMMANDS),
}


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name, the tests excepted."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout.split("\n")
    names = {}
    for path in filter(None, listed):
        parts = Path(path).with_suffix("").parts
        if parts[0] != "tests" and (ROOT / path).exists():
            names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ROOT / path
    return names


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The project's modules that a module imports, at its top or inside a function, also those for type hints."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found |= {name if (name := f"{node.module}.{alias.name}") in known else node.module for alias in node.names}
    return {name for name in found if name in known}


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files are the project's is not known")
    known = modules()
    found = {name: imported(path, known) - {name} for name, path in known.items()}
    assert len(found) > 60
    assert sum(map(len, found.values())) > 150
    return found


def test_no_import_runs_back_up(arrows):
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    for name, targets in arrows.items():
        for target in targets:
            here, there = floor[name.split(".")[0]], floor[target.split(".")[0]]
            assert there <= here, f"{name} imports {target}, which stands above it"
            if here > FLOORS.index(SCRIPTS):
                assert there < here or name.split(".")[0] == target.split(".")[0], f"{name} imports {target}"


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_only_what_lies_below_them(arrows, package):
    level = {room: i for i, rooms in enumerate(ROOMS[package])
             for room in (rooms if isinstance(rooms, tuple) else (rooms,))}
    between = defaultdict(set)
    for name, targets in arrows.items():
        for target in targets:
            if name.startswith(f"{package}.") and target.startswith(f"{package}."):
                a, b = name.split(".")[1], target.split(".")[1]
                if a != b:
                    assert level[b] <= level[a], f"{name} imports {target}"
                    between[a].add(b)
    list(TopologicalSorter(between).static_order())  # raises CycleError for rooms of one floor, too


def test_no_command_of_spotting_imports_another_and_none_is_imported_by_a_room(arrows):
    commands = {f"spotting.{name}" for name in COMMANDS}
    assert commands <= set(arrows)
    for name, targets in arrows.items():
        if name.startswith("spotting."):
            assert not targets & commands, f"{name} imports {targets & commands}"
            assert name in commands or "spotting.command" not in targets, f"{name} imports spotting.command"


def test_no_circle(arrows):
    for package in ("data", "models", "experiments", "spotting", "benchmarks"):
        inside = {name: {t for t in targets if t != package and t.startswith(f"{package}.")}
                  for name, targets in arrows.items() if name.startswith(f"{package}.")}
        try:
            list(TopologicalSorter(inside).static_order())
        except CycleError as error:
            pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")
