"""Rules for the whole: every item has scenarios, every environment accounts for every item, every check is
used and has a test that makes it fail.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from harness.checks.base import CHECKS, Check
from harness.environment.explain import nearest
from harness.errors import Problem
from harness.gherkin import Control, ScenarioInfo
from harness.items import ITEMS
from harness.lint.project import Project

__all__ = ["problems"]


def problems(project: Project) -> Iterator[Problem]:
    """What is not covered, and what is said to be covered or left out and is not."""
    yield from _items(project)
    yield from _controls_exist(project)
    yield from _stray_controls(project)
    yield from _checks(project)


def _items(project: Project) -> Iterator[Problem]:
    where_it_runs: dict[str, set[str]] = {item: set() for item in ITEMS}
    covered = {item for scenario in project.scenarios for item in scenario.items}
    for scenario in project.scenarios:
        for item in where_it_runs.keys() & set(scenario.items):
            where_it_runs[item] |= scenario.environments or set(project.environments)
    for item, text in ITEMS.items():
        if item not in covered:
            yield Problem("features", f"no scenario is tagged @item:{item} ({text})", "write one")
            continue
        for name, loaded in project.environments.items():
            left_out = item in loaded.environment.not_applicable
            place = loaded.where(f"not_applicable.{item}" if left_out else "not_applicable")
            place = place.replace(f"{project.root}/", "")
            if name not in where_it_runs[item] and not left_out:
                what = f"no scenario of {item} applies to {name}, and not_applicable does not say why"
                yield Problem(place, what, f"add it with a reason, or tag a scenario @env:{name}")
            elif name in where_it_runs[item] and left_out:
                what = f"{item} is not_applicable, but a scenario of it is tagged @env:{name}"
                yield Problem(place, what, "remove one of them")


# --- negative controls -------------------------------------------------------------------------------


def _controls_exist(project: Project) -> Iterator[Problem]:
    for scenario in project.scenarios:
        for control in scenario.controls:
            if trouble := _trouble(project.root, control):
                yield Problem(project.place(scenario.path, control.line), *trouble)


def _stray_controls(project: Project) -> Iterator[Problem]:
    for feature in project.features:
        for control in feature.stray:
            where = project.place(feature.path, control.line)
            yield Problem(where, f"the control {control.target} stands above no scenario", "move it")


def _trouble(root: Path, control: Control) -> tuple[str, str] | None:
    """What is wrong with ``control``, and what to do."""
    file, separator, test = control.target.partition("::")
    if not separator or not test:
        return f"{control.target!r} names no test", "# control: tests/negative/test_x.py::test_y"
    folder = (root / file).parent
    if not (root / file).is_file():
        others = sorted(str(path.relative_to(root)) for path in folder.glob("test_*.py"))
        return f"there is no file {file}", nearest(file, others)
    if _is_broken(root / file):
        return f"{file} cannot be parsed", "mend it"
    tests = _tests(root / file)
    if _test_name(test) not in tests:
        return f"{file} has no test {test}", nearest(_test_name(test), sorted(tests))
    return None


def _test_name(test: str) -> str:
    return test.partition("[")[0]


def _tree(path: Path) -> ast.Module:
    """The source of ``path``; an empty module when it cannot be parsed, which _trouble reports."""
    return _parsed(path, path.stat().st_mtime_ns) or ast.Module(body=[], type_ignores=[])


def _is_broken(path: Path) -> bool:
    return _parsed(path, path.stat().st_mtime_ns) is None


@functools.cache
def _parsed(path: Path, changed: int) -> ast.Module | None:
    del changed  # a part of the key: an edited file is parsed again
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return None


def _tests(path: Path) -> set[str]:
    """``test_x``, and ``TestY::test_x`` for methods."""
    found: set[str] = set()
    for node in _tree(path).body:
        functions = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        names = [f.name for f in functions if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)]
        found |= {prefix + name for name in names if name.startswith("test_")}
    return found


def _mentions(path: Path, names: set[str]) -> bool:
    """Whether the module at ``path`` uses one of ``names``, as a name or as text."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Attribute) and names & {node.attr, ast.unparse(node)}:
            return True
        if isinstance(node, ast.Name) and node.id in names:
            return True
        if isinstance(node, ast.Constant) and node.value in names:
            return True
    return False


def _names(check: Check) -> set[str]:
    """What a test may call ``check``: its name, its function, and whatever in harness.checks holds it."""
    found = {check.name}
    for path, module in list(sys.modules.items()):
        if path.startswith("harness.checks."):
            for name, value in vars(module).items():
                holds = value.values() if isinstance(value, dict) and value is not CHECKS else (value,)
                if any(held is check for held in holds):  # a test may also walk over all of a module
                    found |= {name, f"{path.rpartition('.')[2]}.__all__"}
    return found if len(found) > 1 else found | {check.function.__name__}


def _checks(project: Project) -> Iterator[Problem]:
    asked_in: dict[str, list[ScenarioInfo]] = defaultdict(list)
    for scenario in project.scenarios:
        for question in project.questions(scenario):
            asked_in[question.check.name].append(scenario)
    for name, check in sorted(project.checks.items()):
        code = check.function.__code__
        where = project.place(Path(code.co_filename), code.co_firstlineno)
        if name not in asked_in:
            yield Problem(where, f"no step asks the check {name}", "write a scenario, or remove it")
            continue
        controls = [control for scenario in asked_in[name] for control in scenario.controls]
        if not controls:
            asking = project.place(asked_in[name][0].path, asked_in[name][0].line)
            yield Problem(
                where, f"the check {name} has no negative control", f"# control: … above {asking}"
            )
            continue
        names = _names(check)
        files = {project.root / control.target.partition("::")[0] for control in controls}
        if not any(_mentions(file, names) or _is_broken(file) for file in sorted(files) if file.is_file()):
            shown = ", ".join(sorted({control.target.partition("::")[0] for control in controls}))
            what = f"no test in {shown} asks the check {name}: its negative control proves nothing about it"
            yield Problem(where, what, f"break what it checks, and see {name} refute it")
