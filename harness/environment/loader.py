"""Reads an environment file: strictly, and with every problem at once.

harness.environment.yaml_tree    text to data, with the place of every value
harness.environment.model        data to typed values
harness.environment.explain      pydantic's errors in words
harness.environment.consistency  whether the parts fit together
harness.environment.reach        what is missing or does not answer, before a run
"""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from pydantic import ValidationError

from harness.environment.consistency import inconsistencies
from harness.environment.explain import Found, dotted, explain, nearest
from harness.environment.model import Environment
from harness.environment.overrides import apply_overrides
from harness.environment.reach import preflight
from harness.environment.yaml_tree import Path, Tree, read_tree
from harness.errors import ConfigurationError, Problem

__all__ = ["LARGEST", "Loaded", "load", "preflight"]

LARGEST = 256 * 1024
"""Bytes that an environment file may have."""


@dataclass(frozen=True)
class Loaded:
    """An environment, and where each of its values stands."""

    environment: Environment
    path: FilePath
    places: dict[str, str]

    def where(self, path: str) -> str:
        """file:line:column of ``path`` (``web.port``); the file, when it is a default."""
        return self.places.get(path, str(self.path))


def load(name: str | FilePath, root: FilePath, *, overrides: Sequence[str] = ()) -> Loaded:
    """Read environments/``name``.yaml below ``root``, or the file ``name`` when it is a path.

    ``overrides`` are ``path=value`` settings that replace what the file says. Takes a few milliseconds.

    Raises:
        ConfigurationError: with every problem of the file: its line, its path, and the nearest valid name.
    """
    path = _find(name, root)
    shown = _shown(path, root)
    tree = read_tree(_read(path, shown))
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
    return Loaded(environment, path, {dotted(at): places.where(at) for at in tree.values})


def _find(name: str | FilePath, root: FilePath) -> FilePath:
    text = str(name)
    if isinstance(name, FilePath) or "/" in text or text.endswith((".yaml", ".yml")):
        return root / text
    folder = root / "environments"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if text in known:
        return folder / f"{text}.yaml"
    hint = nearest(text, known) if known else f"{folder} holds none"
    what = f"there is no environment {text!r}"
    raise ConfigurationError([Problem("--env", what, hint)], title="environment")


def _shown(path: FilePath, root: FilePath) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _read(path: FilePath, shown: str) -> str:
    """The text of ``path``; pipes, devices and huge files are not even opened."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _unusable(shown, "is a directory", "name a file")
        if not stat.S_ISREG(status.st_mode):
            raise _unusable(shown, "is not a file", "name a file")
        if status.st_size > LARGEST:
            raise _unusable(shown, f"is larger than {LARGEST // 1024} KiB", "is it an environment file?")
        raw = path.read_bytes()
    except OSError as error:
        raise _unusable(shown, f"cannot be read: {error.strerror or type(error).__name__}", "") from None
    except ValueError:  # a NUL in the name
        raise _unusable(repr(shown), "is not a file name", "") from None
    return _decoded(raw, shown)


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
