"""What trying would notice: each condition of each policy, helper, function and view is left out once.

A check that does not notice is blind there: whoever leaves out that very condition later would pass. So
`harness db declare` tries, on the database as it is, and notes the conditions whose loss nobody noticed:
where one is not there later, that is a finding (see written_from.py). All else may be written otherwise.
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
from harness.database.conditions import RIGHTS, weaker_clauses
from harness.database.declaration import Declaration
from harness.database.findings import Report
from harness.database.former import compared
from harness.database.hiding import forgotten
from harness.database.oracle import Subject, subjects
from harness.database.prober import Prober
from harness.database.prober_functions import functions
from harness.database.session import CannotBecome
from harness.database.side_effects import side_effects
from harness.database.static_functions import own_functions
from harness.database.weaker import Weaker, of_function, of_query
from harness.database.written_from import concerns, functions_in, view_title

__all__ = ["told_apart"]

_HARMLESS = ("missing-access", "policy-error")
"""What a condition less never leads to."""


def told_apart(
    connection: psycopg.Connection[Any],
    declaration: Declaration,
    seconds: float,
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, tuple[str, ...]]:
    """By what findings call it: the conditions whose loss trying would not notice.

    For at most ``seconds``, in the open transaction, which is rolled back; conditions that no time was left
    for are among them. What cannot be read or tried, or of which the database took no change, is not there.

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
) -> dict[str, tuple[str, ...]]:
    catalogue = read_for(connection, declaration)
    known = subjects(catalogue, declaration)
    prober = planted(connection, catalogue, declaration, known, Report(), Options())
    if prober is None:
        return {}
    bench = _Bench(prober, deadline)
    found: dict[str, tuple[str, ...]] = {}
    for name, mutants in bench.everything():
        told(f"what trying would notice: {name}")
        try:
            unnoticed = bench.unnoticed(mutants)
        except (ValueError, CannotBecome):  # it cannot be read, or not be tried
            continue
        if unnoticed is not None:
            found[name] = tuple(sorted(unnoticed))
    return found


@dataclass(frozen=True)
class _Mutant:
    """A statement that leaves a condition out, the catalogue after it, and where it might be noticed.

    ``lost`` are two where both clauses of a policy ask for the same: each makes up for the other, so that
    only the loss of both can be noticed.
    """

    lost: tuple[str, ...]
    statement: str
    catalogue: Catalogue
    subjects: tuple[Subject, ...] = ()
    called: tuple[Function, ...] = ()


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
        resting, asking = self._resting(subjects), self._asking()
        for function in own_functions(self.prober.catalogue):
            on = tuple(resting.get(function.oid, {}).values())
            yield f"function {function.title}", self._function(function, on, asking.get(function.oid, []))

    def _resting(self, subjects: list[Subject]) -> dict[int, dict[tuple[int, str], Subject]]:
        """By function: the tables whose policies or triggers ask it, and the views that do."""
        catalogue = self.prober.catalogue
        found: dict[int, dict[tuple[int, str], Subject]] = {}
        for subject in subjects:
            asked = [oid for policy in catalogue.policies_of(subject.relation) for oid in policy.functions]
            asked += [trigger["function"] for trigger in catalogue.triggers_of(subject.relation)]
            asked += functions_in(catalogue, subject.relation.definition or "")
            for function in catalogue.called(asked):
                found.setdefault(function.oid, {})[subject.key] = subject
        return found

    def _asking(self) -> dict[int, list[Function]]:
        """By function: those that callers may call and that ask it, itself among them."""
        catalogue = self.prober.catalogue
        found: dict[int, list[Function]] = {}
        for function in own_functions(catalogue):
            if function.title in self.prober.declaration.functions:
                for asked in catalogue.called([function.oid]):
                    found.setdefault(asked.oid, []).append(function)
        return found

    def unnoticed(self, mutants: Iterable[tuple[_Mutant, ...]]) -> set[str] | None:
        """What of ``mutants`` trying does not notice before the deadline; of alternatives, one is enough.

        Those that the database refuses do not count; where it refuses them all, nothing is known.
        """
        found: set[str] = set()
        refused = tried = 0
        for alternatives in mutants:
            lost = {one for mutant in alternatives for one in mutant.lost}
            late, both = time.monotonic() > self.deadline, len(lost) > 1
            if both and (late or not lost <= found):
                continue
            if late:
                found |= lost
                tried += 1
                continue
            taken = [answer for mutant in alternatives if (answer := self._tried(mutant)) is not None]
            if any(taken):
                found -= lost
            elif taken:
                found |= lost
            tried += bool(taken)
            refused += not taken
        return found if tried or not refused else None

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
            titles = {function.title for function in mutant.called}
            titles |= {subject.relation.title for subject in mutant.subjects}
            return any(forgotten(prober, titles)) or any(
                self._called(prober, function, mutant.subjects) for function in mutant.called
            )

    def _called(self, prober: Prober, function: Function, on: tuple[Subject, ...]) -> bool:
        """Whether a function that is called, or fires, gives away or does what it should not."""
        if function.returns == "trigger":
            return any(side_effects(replace(prober, subjects=list(on))))
        if any(functions(prober, function)):
            return True
        rule = prober.declaration.functions.get(function.title)
        return rule is not None and bool(rule.was) and any(compared(prober, function, rule.was))

    def _kinds(self, prober: Prober, subject: Subject) -> Iterator[tuple[str, str, str]]:
        for probe in TABLE if subject.relation.table else VIEW:
            for sighting in probe(prober, subject):
                if sighting.kind not in _HARMLESS:
                    yield sighting.kind, sighting.command, sighting.actor.name

    def _policy(
        self, policy: Policy, relation: Relation, on: tuple[Subject, ...]
    ) -> Iterator[tuple[_Mutant, ...]]:
        weaker = list(weaker_clauses(policy))
        by_condition: dict[str, list[tuple[str, Weaker]]] = {}
        for clause, one in weaker:
            yield (self._altered(policy, relation, on, [(clause, one)]),)
            by_condition.setdefault(one.lost.partition(": ")[2], []).append((clause, one))
        for both in by_condition.values():
            if len(both) > 1:
                yield (self._altered(policy, relation, on, both),)

    def _altered(
        self,
        policy: Policy,
        relation: Relation,
        on: tuple[Subject, ...],
        weaker: list[tuple[str, Weaker]],
    ) -> _Mutant:
        catalogue = self.prober.catalogue
        texts = {clause: one.text for clause, one in weaker}
        clauses = " ".join(f"{clause} ({text})" for clause, text in texts.items())
        using, check = texts.get("using", policy.using), texts.get("with check", policy.check)
        changed = replace(policy, using=using, check=check)
        policies = [changed if one is policy else one for one in catalogue.policies]
        after = replace(catalogue, policies=policies, memo={})
        statement = f"alter policy {quoted(policy.name)} on {relation.sql} {clauses}"
        return _Mutant(tuple(one.lost for _, one in weaker), statement, after, on)

    def _view(self, relation: Relation, on: tuple[Subject, ...]) -> Iterator[tuple[_Mutant, ...]]:
        if relation.invoker:  # what it shows is its caller's already
            return
        catalogue = self.prober.catalogue
        options = f" with ({', '.join(relation.options)})" if relation.options else ""
        for weaker, lost in of_query(relation.definition or ""):
            changed = replace(relation, definition=weaker)
            relations = [changed if one is relation else one for one in catalogue.relations]
            after = replace(catalogue, relations=relations, memo={})
            subjects = tuple(replace(one, relation=changed) for one in on)
            statement = f"create or replace view {relation.sql}{options} as {weaker}"
            yield (_Mutant((lost,), statement, after, subjects),)

    def _function(
        self, function: Function, on: tuple[Subject, ...], asking: list[Function]
    ) -> Iterator[tuple[_Mutant, ...]]:
        if not function.definer and (function in asking or function.returns == "trigger"):
            yield tuple(self._risen(function, on, asking))
        # with their caller's rights alone they do no more than that caller may do anyway
        asking = [one for one in asking if one.definer or function.definer]
        if not on and not asking:
            return
        definition = self._definition(function)
        for bodies in of_function(function):
            yield tuple(self._redefined(function, definition, body, on, asking) for body in bodies)

    def _risen(
        self, function: Function, on: tuple[Subject, ...], asking: list[Function]
    ) -> Iterator[_Mutant]:
        """The function with its owner's rights: as it is, and without what it asks for by itself."""
        rise = f"alter routine {function.title} security definer"
        definer = replace(function, definer=True)
        called = [definer if one is function else one for one in asking]
        called += [definer] if function.returns == "trigger" else []
        yield _Mutant((RIGHTS,), rise, self._after(function, definer), on, tuple(called))
        try:
            definition, weaker = self._definition(function), list(of_function(function))
        except ValueError:  # then it alone tells
            return
        for body in (body for bodies in weaker for body in bodies):
            made = self._redefined(function, definition, body, on, asking)
            called = [replace(one, definer=True) if one.oid == function.oid else one for one in made.called]
            yield replace(made, lost=(RIGHTS,), statement=f"{made.statement}; {rise}", called=tuple(called))

    def _after(self, function: Function, changed: Function) -> Catalogue:
        catalogue = self.prober.catalogue
        others = [changed if one is function else one for one in catalogue.functions]
        return replace(catalogue, functions=others, memo={})

    def _redefined(
        self,
        function: Function,
        definition: str,
        weaker: Weaker,
        on: tuple[Subject, ...],
        asking: list[Function],
    ) -> _Mutant:
        changed = replace(function, body=weaker.text)
        after = self._after(function, changed)
        statement = definition.replace(function.body, weaker.text)
        called = [changed if one is function else one for one in asking]
        called += [changed] if function.returns == "trigger" else []
        return _Mutant((weaker.lost,), statement, after, on, tuple(called))

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
