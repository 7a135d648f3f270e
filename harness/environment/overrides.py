"""``--set path=value``: settings that replace what an environment file says, for one run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from harness.environment.yaml_tree import Path, Place, Tree, plain_scalar
from harness.errors import Problem

__all__ = ["apply_overrides"]

_SETTING = re.compile(r"(?P<path>[a-z_]+(\.[a-z_0-9]+)*)=(?P<value>.*)", re.DOTALL)
_BY_COMMIT = ("environment", "gate", "not_applicable", "predecessor", "waivers")
_URL_OF = {"port": "url", "api_port": "api_url"}


def apply_overrides(tree: Tree, overrides: Sequence[str]) -> tuple[dict[Path, str], list[Problem]]:
    """Change ``tree`` by ``overrides``; which path comes from which option, and what is wrong with them.

    A port that is set takes its URL along, unless that is set too.
    """
    sources: dict[Path, str] = {}
    problems: list[Problem] = []
    for text in overrides:
        match = _SETTING.fullmatch(text)
        if match is None:
            name = text.partition("=")[0]
            problems.append(Problem(f"--set {name}", "is not a setting", "write path=value: web.port=3100"))
            continue
        path: Path = tuple(match["path"].split("."))
        option = f"--set {match['path']}"
        if path[0] in _BY_COMMIT:
            what = f"{path[0]} decides what is let in: it is not for one run to change"
            problems.append(Problem(option, what, "change the file, by a reviewed commit"))
            continue
        problem = _set(tree, path, match["value"], option)
        if problem:
            problems.append(problem)
        sources[path] = option
    for path in list(sources):
        _take_url_along(tree, path, sources)
    return sources, problems


def _set(tree: Tree, path: Path, text: str, option: str) -> Problem | None:
    try:
        value: Any = plain_scalar(text)
    except ValueError as trap:
        return Problem(option, str(trap), getattr(trap, "hint", ""))
    node = tree.data
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        return Problem(option, f"the file has no {'.'.join(map(str, path[:-1])) or 'settings'}", "")
    node[path[-1]] = value
    tree.values[path] = Place(1, 1, text)
    return None


def _take_url_along(tree: Tree, path: Path, sources: dict[Path, str]) -> None:
    url_path = (*path[:-1], _URL_OF.get(str(path[-1]), ""))
    component = tree.data.get(path[0]) if isinstance(tree.data, dict) and len(path) == 2 else None
    if not isinstance(component, dict) or url_path in sources:
        return
    url, port = component.get(url_path[-1]), component.get(path[-1])
    if not isinstance(url, str) or not isinstance(port, int):
        return
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        component[url_path[-1]] = parts._replace(netloc=f"{host}:{port}").geturl()
    except ValueError:
        return  # not a URL: the model will say so
