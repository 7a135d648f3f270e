"""Step definitions: loaded as pytest-bdd sees them, and read as source."""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_bdd import parsers
from pytest_bdd.steps import StepFunctionContext, step_function_context_registry

from harness.asking import Recorder
from harness.checks.base import Check
from harness.environment import COMPONENTS
from harness.errors import Problem

__all__ = ["Definition", "read_definitions"]

_PREFIX = "_linted_steps_"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Definition:
    """One step definition: what it matches, and the function behind it."""

    type: str | None
    text: str
    path: Path
    line: int
    node: Function
    context: StepFunctionContext

    def matches(self, kind: str, text: str) -> bool:
        """Whether a step of this ``kind`` (given, when, then) and ``text`` is this one."""
        return self.type in (None, kind) and self.context.parser.is_matching(text)

    @property
    def arguments(self) -> frozenset[str]:
        """The names that its parser takes from the text."""
        parser: Any = self.context.parser
        if isinstance(parser, parsers.re):
            return frozenset(parser.regex.groupindex)
        if isinstance(parser, parsers.parse):
            return frozenset(parser.parser.named_fields)
        return frozenset()

    def record(self, text: str, recorder: Recorder) -> str:
        """Tell ``recorder`` what the function asks; why it cannot be called, or nothing."""
        if isinstance(self.node, ast.AsyncFunctionDef):
            return "it is async"
        heard = Recorder()
        try:
            self._call(text, heard)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        strange = [question.check for question in heard.questions if not isinstance(question.check, Check)]
        if strange:
            return f"it asks {strange[0]!r}, which is not a check"
        unknown = [name for name in heard.components if name not in COMPONENTS]
        if unknown:
            return f"it deploys {unknown[0]!r}, which is not a component"
        for question in heard.questions:
            recorder.ask(question.check, **dict(question.parameters))
        return ""

    def _call(self, text: str, recorder: Recorder) -> None:
        arguments = dict(self.context.parser.parse_arguments(text) or {})
        for name, convert in self.context.converters.items():
            if name in arguments:
                arguments[name] = convert(arguments[name])
        wanted = [argument.arg for argument in self.node.args.args]
        values = {"deploy": recorder.deploy, "ask": recorder.ask, **arguments}
        self.context.step_func(**{name: values[name] for name in wanted})


def read_definitions(root: Path) -> tuple[list[Definition], list[Problem]]:
    """Every definition in ``root``/steps, and what kept modules from being loaded.

    The modules are executed under names of their own, so what is already imported does not count.
    """
    definitions: list[Definition] = []
    problems: list[Problem] = []
    for path in sorted((root / "steps").rglob("*.py")):
        name = f"{_PREFIX}{path.stem}"
        shown = path.relative_to(root)
        try:
            module = _execute(name, path)
        except Exception as error:
            problems.append(Problem(f"{shown}:{_line(error, path)}", f"cannot be imported: {_said(error)}"))
            continue
        definitions += _of(module, path)
    return definitions, problems


def _execute(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def _of(module: ModuleType, path: Path) -> Iterator[Definition]:
    nodes = {first_line(node): node for node in _functions(path)}
    for context in list(step_function_context_registry.values()):
        code = context.step_func.__code__
        if context.step_func.__globals__ is vars(module) and code.co_firstlineno in nodes:
            node = nodes[code.co_firstlineno]
            yield Definition(context.type, context.parser.name, path, node.lineno, node, context)


def _functions(path: Path) -> list[Function]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def first_line(node: Function) -> int:
    """The line of the first decorator, which is where Python says that a function begins."""
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _line(error: BaseException, path: Path) -> int:
    if isinstance(error, SyntaxError) and error.lineno:
        return error.lineno
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return next((line for line in reversed(lines) if line), 1)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
