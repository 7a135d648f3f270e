"""What a rule has against a statement, and how rules are found by the kind of statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pglast import ast

from harness.sql.known import Known
from harness.sql.source import Statement

__all__ = ["Objection", "Rule", "Rules", "objections"]


@dataclass(frozen=True)
class Objection:
    """``what`` is wrong with a statement by ``rule``, and the ``safer`` way."""

    rule: str
    what: str
    safer: str


Rule = Callable[[Any, Known], Iterator[Objection]]
"""A node of its kind, and what is known before it, to what there is against it."""


class Rules:
    """The rules of one module, by the kind of statement that they look at."""

    def __init__(self, reasons: dict[str, str]) -> None:
        self.reasons = reasons
        self._by_kind: dict[type, list[Rule]] = {}

    def on(self, *kinds: type[ast.Node]) -> Callable[[Rule], Rule]:
        """Register a rule for statements of these ``kinds``."""

        def register(rule: Rule) -> Rule:
            for kind in kinds:
                self._by_kind.setdefault(kind, []).append(rule)
            return rule

        return register

    def against(self, statement: Statement, known: Known) -> Iterator[Objection]:
        """Everything that these rules have against ``statement``."""
        for rule in self._by_kind.get(type(statement.node), ()):
            yield from rule(statement.node, known)


def objections(rules: tuple[Rules, ...], statement: Statement, known: Known) -> list[Objection]:
    """Everything that ``rules`` have against ``statement``, each once."""
    return list(dict.fromkeys(found for each in rules for found in each.against(statement, known)))
