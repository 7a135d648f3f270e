"""Whether a function that a policy asks is to blame for what the policy lets through."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.database.catalogue import Function, Policy, Relation
from harness.database.causes import policy_title
from harness.database.expressions import bare, calls
from harness.database.mentions import spoken_of
from harness.database.oracle import Actor, literal
from harness.database.prober import Prober
from harness.database.rule_text import CALLER, members_asked
from harness.database.sightings import Sighting
from harness.database.wishes import wishes
from harness.database.written_from import unchanged

__all__ = ["Helpers"]

_MOST_WISHES = 12

True_ = Callable[[str | None, Relation, Actor, dict[str, Any]], bool]
"""Whether an expression is true of a row for somebody."""


@dataclass
class Helpers:
    """Looks at what functions answer, as things stand in the database right now."""

    prober: Prober
    true: True_

    def lying(self, policy: Policy, text: str, sighting: Sighting, row: dict[str, Any]) -> Function | None:
        """The function that says yes to somebody who is no member, or has no such role."""
        actor, relation = sighting.actor, sighting.subject.relation
        if sighting.subject.bucket is None and not self._of_a(row):
            return None
        mine = {role for role in self.prober.power_now(actor).replace(";", ",").split(",") if role}
        if sighting.subject.bucket and not any(group in str(row["name"]) for group in self._groups("A")):
            mine = set()  # a file that lies in no group's folder: nobody is a member there
        known = self.prober.catalogue, self.prober.declaration
        altered = unchanged(*known, policy_title(policy, relation)) is False
        for oid in policy.functions:
            function = self.prober.catalogue.function_by_oid.get(oid)
            if function is None or function.schema in ("auth", "storage", "pg_catalog"):
                continue
            if altered and unchanged(*known, f"function {function.title}"):
                continue
            for call in calls(text, function.name):
                if not self._alone(function, call, text, sighting, row):
                    continue
                test = self._lie(function, call, mine, relation)
                if test and self.true(test, relation, actor, row):
                    return None if self._asks_too_little(text, sighting, row) else function
        return None

    def _alone(
        self, function: Function, call: str, text: str, sighting: Sighting, row: dict[str, Any]
    ) -> bool:
        """Whether the answer of a function decides by itself: else the policy asks too little besides."""
        if members_asked(self.prober, function):
            return True
        rules = [r for r in sighting.subject.rules if r.who == "owner" and r.by and r.by in row]
        forged = [r for r in rules if str(row[r.by or ""]) != sighting.actor.user]
        if sighting.new_row is not None and any(not spoken_of(r.by or "", text) for r in forged):
            return False
        there = self.prober.worlds["A"].row(sighting.subject)
        alone = not sighting.variant or bare(" ".join(text.split())) == " ".join(call.split())
        if sighting.new_row is not None or there is None or there.data == row:
            return alone
        # where the same caller may do so with A's row as it was, the answer was right
        return (
            alone
            and not self.prober.expected(sighting.subject, sighting.actor, there.data)[sighting.command]
        )

    def _lie(self, function: Function, call: str, mine: set[str], relation: Relation) -> str | None:
        """A condition: what the function answers is not so, for somebody with the roles ``mine``."""
        if function.returns == "boolean":
            asked = {one for text in re.findall(r"'([^']*)'", call) for one in re.split(r"[{},]", text)}
            return call if not mine or (bool(asked) and not asked & mine) else None
        if function.set:  # the groups that one belongs to
            groups = ", ".join(literal(group) for group in self._groups("A"))
            found = f"exists (select from {call} as answer_ where answer_::text in ({groups}))"
            return found if groups and not mine else None
        # the role that one has in the row's group; of what knows no caller, the policy makes what it will
        if not self._knows_callers(function):
            return None
        given = call.partition("(")[2]
        if not any(spoken_of(c.name, given) for c in relation.columns):
            return None
        roles = ", ".join(literal(role) for role in sorted(mine))
        return f"({call})::text not in ({roles})" if mine else f"({call}) is not null"

    def _knows_callers(self, function: Function) -> bool:
        """Whether a function asks who is calling, or looks at who belongs where."""
        bodies = " ".join(f.body for f in self.prober.catalogue.called([function.oid]))
        return bool(CALLER.search(bodies)) or members_asked(self.prober, function)

    def _of_a(self, row: dict[str, Any]) -> bool:
        """Whether the row leads to a group of A: only there it is known who is a member."""
        values = list(map(str, row.values()))
        a, b = (self._groups(name) for name in "AB")
        if any(group in value for group in a for value in values):
            return True
        # a row without a group (a comment, say) leads to one through another table
        return not any(group in value for group in b for value in values)

    def _groups(self, name: str) -> list[str]:
        """The groups of a world's user."""
        found = []
        for membership in self.prober.declaration.memberships.values():
            relation = self.prober.catalogue.by_title.get(membership.table)
            there = self.prober.worlds[name].rows.get((relation.oid, "")) if relation else None
            found += [str(there.data[membership.group])] if there else []
        return found

    def _asks_too_little(self, text: str, sighting: Sighting, row: dict[str, Any]) -> bool:
        """Whether the function is right: the rules ask for a value besides, the policy does not.

        That value makes the caller one who may, and nobody whose user is unknown.
        """
        subject, actor = sighting.subject, sighting.actor
        rules = [rule for rule in subject.rules if sighting.command.lower() in rule.may]
        asked = " ".join(f"{rule.where or ''} {rule.check or ''}" for rule in rules)
        nobody = Actor("nobody", actor.role, str(uuid.uuid4()))
        new = sighting.kind in ("forged-insert", "owner-reassigned")
        for name, value in itertools.islice(wishes(subject.relation, row, asked), _MOST_WISHES):
            if spoken_of(name, text):
                continue
            changed = row | {name: value}
            mine, any_ = (
                self.prober.expected(subject, who, changed, new=new)[sighting.command]
                for who in (actor, nobody)
            )
            if mine and not any_:
                return True
        return False
