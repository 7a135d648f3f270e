"""What trying would notice: each condition of each policy, helper, function and view is left out once.

A check that does not notice is blind there: whoever leaves out that very condition later would pass. So
`harness db declare` tries, on the database as it is, and what is noticed in every part is noted as tried:
that may be written otherwise later. Of all else a change is a finding (see written_from.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from harness.database.catalogue import Catalogue, Function, Policy, Relation, quoted
from harness.database.causes import policy_title
from harness.database.check import TABLE, VIEW, Options, planted, read_for
from harness.database.declaration import Declaration
from harness.database.findings import Report
from harness.database.oracle import Subject, subjects
from harness.database.prober import Prober
from harness.database.prober_functions import functions
from harness.database.session import CannotBecome
from harness.database.side_effects import side_effects
from harness.database.static_functions import own_functions
from harness.database.weaker import of_condition, of_function, of_query
from harness.database.written_from import concerns, view_title

__all__ = ["told_apart"]

_HARMLESS = ("missing-access", "policy-error")
"""What a condition less never leads to."""


def told_apart(
    connection: psycopg.Connection[Any],
    declaration: Declaration,
    seconds: float,
    told: Callable[[str], None] = lambda _: None,
) -> set[str]:
    """Of what trying would notice the loss of any condition, as findings call it.

    For at most ``seconds``, in the open transaction, which is rolled back. What no time was left for, what
    cannot be read, and that of which the database took no change, is not among it.

    Raises:
        psycopg.OperationalError: when the connection is lost.
    """
    try:
        return _told_apart(connection, declaration, time.monotonic() + seconds, told)
    finally:
        if not connection.closed:
            connection.rollback()


def _told_apart(
    connection: psycopg.Connection[Any],
    declaration: Declaration,
    deadline: float,
    told: Callable[[str], None],
) -> set[str]:
    catalogue = read_for(connection, declaration)
    known = subjects(catalogue, declaration)
    prober = planted(connection, catalogue, declaration, known, Report(), Options())
    if prober is None:
        return set()
    bench = _Bench(prober, deadline)
    found: set[str] = set()
    for name, mutants in bench.everything():
        told(f"what trying would notice: {name}")
        try:
            if bench.told_apart(mutants):
                found.add(name)
        except (ValueError, CannotBecome):  # it cannot be read, or not be tried
            continue
    return found


@dataclass(frozen=True)
class _Mutant:
    """A statement that leaves a condition out, the catalogue after it, and where it might be noticed."""

    statement: str
    catalogue: Catalogue
    subjects: tuple[Subject, ...] = ()
    function: Function | None = None


@dataclass
class _Bench:
    prober: Prober
    deadline: float
    _usual: dict[tuple[int, str], set[tuple[str, str, str]]] = field(default_factory=dict)

    def everything(self) -> Iterator[tuple[str, Iterator[tuple[_Mutant, ...]]]]:
        """Each policy, function and view with its mutants."""
        subjects = [one for one in self.prober.subjects if not one.heir]
        for relation in {one.relation.oid: one.relation for one in subjects}.values():
            on = tuple(one for one in subjects if one.relation is relation)
            for policy in self.prober.catalogue.policies_of(relation) if relation.table else ():
                concerned = tuple(s for s in on if s.bucket is None or concerns(policy, s.bucket))
                yield policy_title(policy, relation), self._policy(policy, relation, concerned)
            if relation.kind == "v":
                yield view_title(relation), self._view(relation, on)
        resting = self._resting(subjects)
        for function in own_functions(self.prober.catalogue):
            declared = function.title in self.prober.declaration.functions
            if declared or function.oid in resting:
                on = tuple(resting.get(function.oid, {}).values())
                yield f"function {function.title}", self._function(function, on, declared)

    def _resting(self, subjects: list[Subject]) -> dict[int, dict[tuple[int, str], Subject]]:
        """By function: the tables whose policies or triggers ask it."""
        catalogue = self.prober.catalogue
        found: dict[int, dict[tuple[int, str], Subject]] = {}
        for subject in subjects:
            asked = [oid for policy in catalogue.policies_of(subject.relation) for oid in policy.functions]
            asked += [trigger["function"] for trigger in catalogue.triggers_of(subject.relation)]
            for function in catalogue.called(asked):
                found.setdefault(function.oid, {})[subject.key] = subject
        return found

    def told_apart(self, mutants: Iterable[tuple[_Mutant, ...]]) -> bool:
        """Whether trying notices each of ``mutants`` before the deadline; of alternatives, one.

        Those that the database refuses do not count; where it refuses them all, nothing is known.
        """
        refused = noticed = 0
        for alternatives in mutants:
            if time.monotonic() > self.deadline:
                return False
            taken = [answer for mutant in alternatives if (answer := self._tried(mutant)) is not None]
            if taken and not any(taken):
                return False
            noticed += bool(taken)
            refused += not taken
        return noticed > 0 or refused == 0

    def _tried(self, mutant: _Mutant) -> bool | None:
        """Whether trying notices it; None when the database refuses it."""
        for subject in mutant.subjects:
            if subject.key not in self._usual:
                self._usual[subject.key] = set(self._kinds(self.prober, subject))
        with self.prober.session.redefined(mutant.statement) as done:
            if not done:
                return None
            prober = replace(
                self.prober, catalogue=mutant.catalogue, gaps=[], judge=None, _about={}, _expected={}
            )
            for subject in mutant.subjects:
                if any(kind not in self._usual[subject.key] for kind in self._kinds(prober, subject)):
                    return True
            return mutant.function is not None and self._called(prober, mutant.function, mutant.subjects)

    def _called(self, prober: Prober, function: Function, on: tuple[Subject, ...]) -> bool:
        """Whether a function that is called, or fires, gives away or does what it should not."""
        if function.returns == "trigger":
            return any(side_effects(replace(prober, subjects=list(on))))
        return any(functions(prober, function))

    def _kinds(self, prober: Prober, subject: Subject) -> Iterator[tuple[str, str, str]]:
        for probe in TABLE if subject.relation.table else VIEW:
            for sighting in probe(prober, subject):
                if sighting.kind not in _HARMLESS:
                    yield sighting.kind, sighting.command, sighting.actor.name

    def _policy(
        self, policy: Policy, relation: Relation, on: tuple[Subject, ...]
    ) -> Iterator[tuple[_Mutant, ...]]:
        catalogue = self.prober.catalogue
        statement = f"alter policy {quoted(policy.name)} on {relation.sql}"
        weaker = [("using", using, replace(policy, using=using)) for using in _without(policy.using)]
        weaker += [("with check", check, replace(policy, check=check)) for check in _without(policy.check)]
        for clause, text, changed in weaker:
            policies = [changed if one is policy else one for one in catalogue.policies]
            after = replace(catalogue, policies=policies, memo={})
            yield (_Mutant(f"{statement} {clause} ({text})", after, on),)

    def _view(self, relation: Relation, on: tuple[Subject, ...]) -> Iterator[tuple[_Mutant, ...]]:
        if relation.invoker:  # what it shows is its caller's already
            return
        catalogue = self.prober.catalogue
        options = f" with ({', '.join(relation.options)})" if relation.options else ""
        for weaker in of_query(relation.definition or ""):
            changed = replace(relation, definition=weaker)
            relations = [changed if one is relation else one for one in catalogue.relations]
            after = replace(catalogue, relations=relations, memo={})
            subjects = tuple(replace(one, relation=changed) for one in on)
            statement = f"create or replace view {relation.sql}{options} as {weaker}"
            yield (_Mutant(statement, after, subjects),)

    def _function(
        self, function: Function, on: tuple[Subject, ...], declared: bool
    ) -> Iterator[tuple[_Mutant, ...]]:
        if declared and not on and not function.definer:  # it does no more than its caller may do anyway
            return
        definition = self._definition(function)
        for bodies in of_function(function):
            yield tuple(self._redefined(function, definition, body, on, declared) for body in bodies)

    def _redefined(
        self, function: Function, definition: str, body: str, on: tuple[Subject, ...], declared: bool
    ) -> _Mutant:
        catalogue = self.prober.catalogue
        changed = replace(function, body=body)
        others = [changed if one is function else one for one in catalogue.functions]
        after = replace(catalogue, functions=others, memo={})
        statement = definition.replace(function.body, body)
        acts = declared or function.returns == "trigger"
        return _Mutant(statement, after, on, changed if acts else None)

    def _definition(self, function: Function) -> str:
        """`create or replace function` as the database would write it.

        Raises:
            ValueError: when the body does not stand in it as it is.
        """
        query = f"select pg_get_functiondef({function.oid})"
        (definition,) = self.prober.session.inside(self.prober.anonymous, query)
        if str(definition).count(function.body) != 1:
            raise ValueError(f"the body of {function.title} stands elsewhere")
        return str(definition)


def _without(clause: str | None) -> Iterator[str]:
    return of_condition(clause) if clause is not None else iter(())
