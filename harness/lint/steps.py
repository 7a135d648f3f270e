"""Rules for step definitions: each step has exactly one, each is used, and none holds any logic."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator

from harness.asking import Recorder
from harness.errors import Problem
from harness.gherkin import ScenarioInfo, StepInfo
from harness.lint.definitions import Definition
from harness.lint.project import Project

__all__ = ["problems"]

_MOST_LINES = 5
_LOGIC: dict[type[ast.AST], str] = {
    ast.If: "if",
    ast.IfExp: "if",
    ast.Match: "match",
    ast.For: "for",
    ast.AsyncFor: "for",
    ast.comprehension: "for",
    ast.While: "while",
    ast.Try: "try",
    ast.TryStar: "try",
    ast.With: "with",
    ast.AsyncWith: "with",
    ast.Assert: "assert",
    ast.Await: "await",
    ast.Return: "return",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
}


def problems(project: Project) -> Iterator[Problem]:
    """Steps without a definition or with several, definitions without a step, and logic in definitions."""
    used: set[int] = set()
    for scenario in project.scenarios:
        for step in scenario.steps:
            yield from _matches(project, scenario, step, used)
    for definition in project.definitions:
        where = project.place(definition.path, definition.line)
        if id(definition) not in used:
            yield Problem(where, f"no feature uses the step {_shown(definition)}", "remove it")
        for what, hint in _shape(definition):
            yield Problem(where, what, hint)
    yield from _plugins(project)


def _matches(project: Project, scenario: ScenarioInfo, step: StepInfo, used: set[int]) -> Iterator[Problem]:
    where = project.place(scenario.path, step.line)
    for text in scenario.rendered(step):
        found = project.matching(step, text)
        used |= {id(definition) for definition in found}
        if not found:
            yield Problem(
                where,
                f"no step definition matches {step.type.title()} {text!r}",
                _nearest(project, step, text),
            )
        elif len(found) > 1:
            places = ", ".join(project.place(d.path, d.line) for d in found)
            yield Problem(
                where, f"{len(found)} step definitions match {step.type.title()} {text!r}", places
            )
        else:
            yield from _planned(project, where, step, text, found[0])


def _planned(
    project: Project, where: str, step: StepInfo, text: str, definition: Definition
) -> Iterator[Problem]:
    recorder = Recorder()
    place = project.place(definition.path, definition.line)
    if trouble := definition.record(text, recorder):
        yield Problem(where, f"the step {text!r} cannot be planned: {trouble}", place)
    elif step.type == "then" and not recorder.questions:
        yield Problem(where, f"Then {text!r} asks nothing, so it proves nothing", place)


def _nearest(project: Project, step: StepInfo, text: str) -> str:
    other = [d for d in project.definitions if d.context.parser.is_matching(text)]
    if other:
        kind = (other[0].type or "").title()
        return f"{project.place(other[0].path, other[0].line)} defines it as a {kind}"
    texts = {d.text: d for d in project.definitions if d.type in (None, step.type)}
    near = difflib.get_close_matches(text, texts, 1, 0.5)
    if not near:
        return "write it in steps/"
    definition = texts[near[0]]
    return f"the nearest: {near[0]!r}, {project.place(definition.path, definition.line)}"


def _shown(definition: Definition) -> str:
    return f"{(definition.type or 'step').title()} {definition.text!r}"


def _shape(definition: Definition) -> Iterator[tuple[str, str]]:
    node = definition.node
    if isinstance(node, ast.AsyncFunctionDef):
        yield "an async step is never awaited, so it always passes", "make it a plain function"
    body = [statement for statement in node.body if not _is_text(statement)]
    lines = sum((s.end_lineno or s.lineno) - s.lineno + 1 for s in body)
    if not 1 <= lines <= _MOST_LINES:
        yield f"a step has 1 to {_MOST_LINES} lines, this one {lines}", "move the rest into a check"
    words = {_LOGIC[type(part)] for part in ast.walk(node) if type(part) in _LOGIC}
    for word in sorted(words):
        yield f"a step holds no logic: {word}", "move it into a check"
    yield from _parameters(definition)
    if definition.context.target_fixture is not None:
        yield "a step makes no fixture (target_fixture)", "whatever a check needs comes from the Stack"


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _parameters(definition: Definition) -> Iterator[tuple[str, str]]:
    arguments = definition.node.args
    if (
        arguments.vararg
        or arguments.kwarg
        or arguments.kwonlyargs
        or arguments.posonlyargs
        or arguments.defaults
    ):
        yield "a step takes plain parameters only", "deploy, ask and the arguments of its text"
    taken = [argument.arg for argument in arguments.args]
    for name in taken:
        if name not in {"deploy", "ask"} | definition.arguments:
            yield f"a step takes deploy, ask and what its text names, not {name}", "remove it"
    for name in sorted(definition.arguments - set(taken)):
        yield f"{{{name}}} stands in the text, but the function does not take it", "take it and pass it on"


def _plugins(project: Project) -> Iterator[Problem]:
    """Modules of steps/ that conftest.py does not load: pytest would not find their steps."""
    path = project.root / "conftest.py"
    if not path.exists():
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        yield Problem("conftest.py:1", f"cannot be parsed: {error}", "mend it")
        return
    listed = {
        text.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(getattr(t, "id", "") == "pytest_plugins" for t in node.targets)
        for text in ast.walk(node.value)
        if isinstance(text, ast.Constant)
    }
    for module in sorted({definition.path for definition in project.definitions}):
        name = ".".join(module.relative_to(project.root).with_suffix("").parts)
        if name not in listed:
            yield Problem(
                project.place(module, 1), "conftest.py does not load it", f'add "{name}" to pytest_plugins'
            )
