"""Reads an environment file: strictly, and with every problem at once.

harness.environment.yaml_tree    text to data, with the place of every value
harness.environment.model        data to typed values
harness.environment.explain      pydantic's errors in words
harness.environment.consistency  whether the parts fit together
harness.environment.reach        what is missing or does not answer, before a run
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from pydantic import ValidationError

from harness.environment.consistency import inconsistencies
from harness.environment.explain import Found, dotted, explain, nearest
from harness.environment.model import Environment
from harness.environment.overrides import apply_overrides
from harness.environment.reach import preflight
from harness.environment.yaml_tree import LARGEST, Path, Tree, read_tree
from harness.errors import ConfigurationError, Problem
from harness.plain_files import NotPlain, read_plain

__all__ = ["LARGEST", "Loaded", "environment_path", "find", "load", "preflight"]


@dataclass(frozen=True)
class Loaded:
    """An environment, and where each of its values stands."""

    environment: Environment
    path: FilePath
    places: dict[str, str]
    content: bytes
    """What stood in the file when it was read; what is signed later is about this."""

    @property
    def digest(self) -> str:
        """sha256 of the file."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def where(self, path: str) -> str:
        """file:line:column of ``path`` (``web.port``); the file, when it is a default."""
        return self.places.get(path, str(self.path))


def environment_path(name: str) -> str:
    """Where the file of the environment ``name`` is, from the root of the checkout."""
    return f"environments/{name}.yaml"


def load(name: str, root: FilePath, *, overrides: Sequence[str] = ()) -> Loaded:
    """Read environments/``name``.yaml below ``root``; a file elsewhere is no environment.

    ``overrides`` are ``path=value`` settings that replace what the file says. Takes a few milliseconds.

    Raises:
        ConfigurationError: with every problem of the file: its line, its path, and the nearest valid name.
    """
    path = root / find(name, root)
    shown = environment_path(name)
    content = _read(path, shown, root)
    tree = read_tree(_decoded(content, shown))
    problems = [
        Problem(f"{shown}:{f.place.line}:{f.place.column}", _named(f.path, f.what), f.hint)
        for f in tree.flaws
    ]
    sources, found = apply_overrides(tree, overrides)
    problems += found
    places = _Places(shown, tree, sources)
    environment, contradictions = _validated(tree, path)
    flawed = {flaw.path for flaw in tree.flaws}
    problems += [
        Problem(places.where(at), what if at in sources else _named(at, what), hint)
        for at, what, hint in contradictions
        if at not in flawed
    ]
    if problems or environment is None:
        raise ConfigurationError(_sorted(problems), title=f"environment {path.stem}")
    return Loaded(environment, path, {dotted(at): places.where(at) for at in tree.values}, content)


def find(name: str, root: FilePath) -> str:
    """Where the file of the environment ``name`` is, if there is such an environment.

    Raises:
        ConfigurationError: with the nearest name.
    """
    folder = root / "environments"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name in known:
        return environment_path(name)
    hint, what = f"{folder} holds none", f"there is no environment {name!r}"
    if "/" in name or name.endswith((".yaml", ".yml")):
        what = f"{name!r} is a path; an environment is called by its name, and is environments/NAME.yaml"
    if known:
        hint = nearest(FilePath(name).stem, known)
    raise ConfigurationError([Problem("--env", what, hint)], title="environment")


def _read(path: FilePath, shown: str, root: FilePath) -> bytes:
    """The bytes of ``path``; links are not followed, and pipes, devices and huge files not read."""
    try:
        raw = read_plain(path, LARGEST, below=root)
    except NotPlain as error:
        hint = error.hint or ("is it an environment file?" if "larger" in error.reason else "")
        raise _unusable(shown, error.reason, hint) from None
    if raw is None:
        raise _unusable(shown, "is gone", "")
    return raw


def _decoded(raw: bytes, shown: str) -> str:
    if raw.startswith(b"\xef\xbb\xbf"):
        raise _unusable(f"{shown}:1:1", "begins with a byte order mark", "save it as UTF-8 without BOM")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise _unusable(f"{shown}:{line}:{column}", "is not UTF-8", "save it as UTF-8") from None
    if not text.strip():
        raise _unusable(shown, "is empty", "docs/environments.md says what belongs into it")
    return text


def _unusable(where: str, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError([Problem(where, what, hint)], title="environment")


def _validated(tree: Tree, path: FilePath) -> tuple[Environment | None, list[Found]]:
    """The typed environment and what contradicts itself in it; or None and what is wrong."""
    if not isinstance(tree.data, dict):
        if tree.flaws:
            return None, []
        return None, [((), "must be a mapping (key: value lines)", "docs/environments.md shows one")]
    try:
        # JSON is where strict pydantic takes a list for a tuple and text for a date, and nothing else
        environment = Environment.model_validate_json(json.dumps(tree.data))
    except ValidationError as error:
        found = explain(error, tree.data, tree)
        # of a file that was not read to its end, what is "missing" may well be there
        return None, [entry for entry in found if not (tree.truncated and entry[1].endswith("is missing"))]
    return environment, list(inconsistencies(environment, path))


class _Places:
    """Where paths stand: in the file, or in an option."""

    def __init__(self, shown: str, tree: Tree, sources: dict[Path, str]) -> None:
        self._shown, self._tree, self._sources = shown, tree, sources

    def where(self, path: Path) -> str:
        """The place of ``path``, or of the nearest thing above it that stands in the file."""
        if path in self._sources:
            return self._sources[path]
        for length in range(len(path), -1, -1):
            part = path[:length]
            place = self._tree.keys.get(part) or self._tree.values.get(part)
            if place is not None and part:
                return f"{self._shown}:{place.line}:{place.column}"
        return f"{self._shown}:1"


def _named(path: Path, what: str) -> str:
    return f"{dotted(path)}: {what}" if path else what


def _sorted(problems: Sequence[Problem]) -> list[Problem]:
    """In the order of the file; each once."""

    def position(problem: Problem) -> tuple[int, ...]:
        return tuple(int(part) for part in problem.where.split(":")[1:] if part.isdigit())

    return sorted(dict.fromkeys(problems), key=position)
