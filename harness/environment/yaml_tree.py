"""YAML as environment files may use it: a subset in which nothing means something else than it shows.

Plain YAML 1.1 reads ``no`` as false, ``3.10`` as 3.1, ``017`` as 15, ``22:30`` as 1350, and keeps the last
of two equal keys. Here each of those is refused with its line, as are anchors, aliases, merge keys, tags,
tabs, a second document, and nesting that no environment needs. The parser's events are read without
recursion, so no input can exhaust the stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

__all__ = ["DEEPEST", "LARGEST", "Flaw", "Path", "Place", "Tree", "plain_scalar", "read_tree"]

DEEPEST = 12
"""Levels of nesting that a file may have."""
LARGEST = 256 * 1024
"""Bytes that it may have."""

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\.[0-9]{1,30}")
_WORDS = {"yes": "true", "no": "false", "on": "true", "off": "false", "y": "true", "n": "false"}
_STRANGE_NUMBER = re.compile(
    r"[-+]?(0[0-7_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+|[0-9][0-9_]*|[0-9]+(:[0-9]{1,2})+(\.[0-9]*)?"
    r"|([0-9][0-9_]*)?\.[0-9_]*([eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(inf|Inf|INF|nan|NaN|NAN))"
)


@dataclass(frozen=True)
class Place:
    """Line and column, from 1. ``plain`` is the text of an unquoted scalar, as it stands in the file."""

    line: int
    column: int
    plain: str | None = None


@dataclass(frozen=True)
class Flaw:
    """Something wrong with the YAML itself."""

    place: Place
    what: str
    hint: str
    path: Path = ()


@dataclass
class Tree:
    """What was read: ``data`` (a mapping, or nothing), where each path stands, and every flaw."""

    data: Any = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)
    truncated: bool = False
    """Reading stopped early: what is missing may stand further down."""


class _Trap(ValueError):
    """A plain scalar that YAML versions or people read differently."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


def plain_scalar(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar.

    Raises:
        ValueError: with ``what`` and ``hint``, when it is one of YAML's traps. Neither repeats what may be
            a secret.
    """
    if text in ("true", "false"):
        return text == "true"
    if text in ("null", "~"):
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    lowered = text.lower()
    if lowered in _WORDS:
        raise _Trap(
            f"{text} is a truth value to some readers and a word to others",
            f"write {_WORDS[lowered]}, or quote it",
        )
    if lowered in ("true", "false", "null"):
        raise _Trap(f"{text} is written in lower case", f"write {lowered}")
    if not text:
        raise _Trap("has no value", "give it one, or remove the line")
    if _STRANGE_NUMBER.fullmatch(text):
        raise _Trap("is a number that readers disagree about", "write it in plain decimal, or quote it")
    return text


@dataclass
class _Open:
    """A collection that is being read."""

    node: dict[str, Any] | list[Any]
    path: Path
    place: Place
    key: str | None = None
    key_place: Place | None = None
    first_lines: dict[str, int] = field(default_factory=dict)
    doubled: set[str] = field(default_factory=set)


def read_tree(text: str) -> Tree:
    """Read ``text``. Never raises; what is wrong stands in ``flaws``."""
    reader = _Reader()
    reader.tabs(text)
    try:
        for event in _events(text):
            if not reader.take(event):
                reader.tree.truncated = True
                break
    except yaml.YAMLError as error:
        reader.tree.truncated = True
        reader.syntax(error)
    return reader.tree


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=_LOADER)


def _mark(event: Any, plain: str | None = None) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1, plain)


class _Reader:
    """Builds a Tree from events."""

    def __init__(self) -> None:
        self.tree = Tree()
        self._open: list[_Open] = []
        self._documents = 0

    def flaw(self, place: Place, what: str, hint: str, path: Path = ()) -> None:
        self.tree.flaws.append(Flaw(place, what, hint, path))

    def tabs(self, text: str) -> None:
        for number, line in enumerate(text.split("\n"), 1):
            indentation = line[: len(line) - len(line.lstrip())]
            if "\t" in indentation and line.strip():
                place = Place(number, indentation.index("\t") + 1)
                self.flaw(place, "a tab in the indentation", "indent with spaces")

    def syntax(self, error: yaml.YAMLError) -> None:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        if any(flaw.place.line == place.line for flaw in self.tree.flaws):
            return  # a tab, most likely: said already, in better words
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        self.flaw(place, f"is not YAML: {what}", "look at this line and the one above it")

    def take(self, event: Any) -> bool:
        """Take one event; false when there is no use in going on."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self.flaw(_mark(event), "a second document begins here", "one file, one environment")
                return False
        elif isinstance(event, yaml.AliasEvent):
            if self._wants_key():
                self.flaw(_mark(event), *_NO_ANCHORS)
                return False
            self.flaw(_mark(event), *_NO_ANCHORS, path=self._next_path())
            self._put(None, _mark(event))
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            return self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()
        return True

    # --- events ----------------------------------------------------------------------------------

    def _refuse_decorations(self, event: Any) -> None:
        if event.anchor is not None:
            self.flaw(_mark(event), *_NO_ANCHORS)
        if event.tag is not None:
            self.flaw(_mark(event), "YAML tags are refused", "write plain values")

    def _scalar(self, event: Any) -> None:
        self._refuse_decorations(event)
        if self._wants_key():
            self._take_key(event)
            return
        if event.style or event.tag:  # quoted, or a block: text, whatever it looks like
            self._put(event.value, _mark(event))
            return
        place = _mark(event, event.value)
        try:
            self._put(plain_scalar(event.value), place)
        except _Trap as trap:
            self.flaw(place, trap.what, trap.hint, self._next_path())
            self._put(event.value, place)

    def _take_key(self, event: Any) -> None:
        top, key, place = self._open[-1], event.value, _mark(event)
        if key == "<<" and not event.style:
            self.flaw(place, "merge keys are refused", "write the values out")
        elif not event.style and not isinstance(_quietly(key), str):
            self.flaw(place, f"the key {key!r} is not a word", "quote it if it is meant")
        elif key in top.first_lines:
            first = top.first_lines[key]
            self.flaw(place, f"{key} stands here twice: first in line {first}", "keep one of them")
            key = f"{key}\0{len(top.doubled)}"  # kept apart, so that what is below it is still read
            top.doubled.add(key)
        top.key, top.key_place = key, place
        top.first_lines.setdefault(key, place.line)

    def _begin(self, event: Any) -> bool:
        self._refuse_decorations(event)
        place = _mark(event)
        if self._wants_key():
            self.flaw(place, "a key is a word, not a collection", "write a word")
            return False
        if len(self._open) >= DEEPEST:
            self.flaw(place, f"nested deeper than {DEEPEST} levels", "no environment needs that")
            return False
        node: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = self._next_path()
        self._put(node, place)
        self._open.append(_Open(node, path, place))
        return True

    def _end(self) -> None:
        done = self._open.pop()
        if isinstance(done.node, dict):
            for key in done.doubled:
                done.node.pop(key, None)

    # --- where we are ----------------------------------------------------------------------------

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].node, dict) and self._open[-1].key is None

    def _next_path(self) -> Path:
        if not self._open:
            return ()
        top = self._open[-1]
        return (*top.path, len(top.node) if isinstance(top.node, list) else str(top.key))

    def _put(self, value: Any, place: Place) -> None:
        path = self._next_path()
        self.tree.values[path] = place
        if not self._open:
            self.tree.data = value
            return
        top = self._open[-1]
        if isinstance(top.node, list):
            top.node.append(value)
            return
        if top.key is not None:
            self.tree.keys[path] = top.key_place or place
            top.node[top.key] = value
        top.key = None


_NO_ANCHORS = ("anchors and aliases are refused", "write the value out: each file says everything itself")


def _quietly(text: str) -> object:
    try:
        return plain_scalar(text)
    except _Trap:
        return None
