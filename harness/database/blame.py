"""From what was seen to who is to blame: the policy, grant, view or function, and the SQL that mends it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from harness.database.blame_refusals import missing_access, policy_error
from harness.database.catalogue import Catalogue, Function, Policy, Relation, quoted
from harness.database.causes import gathered, policy_title, without_consequences
from harness.database.expressions import bare, calls
from harness.database.findings import Found
from harness.database.mentions import spoken_of
from harness.database.oracle import Actor, literal, record
from harness.database.prober import Prober
from harness.database.rewrites import escalating, rules_of
from harness.database.rule_text import CALLER, members_asked, rule_sql, rules_for
from harness.database.sightings import Sighting

__all__ = ["Judge", "blamed"]

_EXPECTED = {
    "foreign-read": "only those whom the declaration lets read a row see it",
    "foreign-update": "only those whom the declaration lets change a row change it",
    "foreign-delete": "only those whom the declaration lets delete a row delete it",
    "owner-reassigned": "an update leaves a row within what its writer may write",
    "forged-insert": "nobody makes rows in another's name",
}


def blamed(prober: Prober, sightings: list[Sighting]) -> list[Found]:
    """One finding a culprit; what merely follows from another finding is left out."""
    judge = Judge(prober)
    pairs = [
        (found, sighting)
        for sighting in sightings
        for found in (judge.of(sighting) if sighting.blame is None else sighting.blame)
    ]
    return without_consequences(prober.catalogue, gathered(pairs))


@dataclass
class Judge:
    """Finds who is to blame, as things stand in the database right now."""

    prober: Prober

    @property
    def catalogue(self) -> Catalogue:
        """What was read of the database."""
        return self.prober.catalogue

    def of(self, sighting: Sighting) -> list[Found]:
        """The findings that a sighting comes to."""
        if sighting.kind == "missing-access":
            return [missing_access(self.prober, sighting)]
        if sighting.kind == "policy-error":
            return [policy_error(sighting)]
        if sighting.kind == "trigger-escalates":
            return list(self._triggers(sighting))
        return [opened] if (opened := self._no_policy(sighting)) else list(self._policies(sighting))

    def _no_policy(self, sighting: Sighting) -> Found | None:
        """What lets everything through, policies or not."""
        relation, actor = sighting.subject.relation, sighting.actor
        if relation.kind == "v" and not relation.invoker:
            return self._found(
                sighting,
                relation.title,
                "view-bypasses-rls",
                f"it reads with the rights of {relation.owner}",
                f"alter view {relation.title} set (security_invoker = true);",
            )
        if relation.table and not relation.rls:
            return self._found(
                sighting,
                relation.title,
                "rls-disabled",
                "row level security is off",
                f"alter table {relation.title} enable row level security;",
            )
        if self.catalogue.bypasses(actor.role):
            return self._found(
                sighting,
                f"role {actor.role}",
                "role-bypasses-rls",
                f"{actor.role} bypasses row level security",
                f"alter role {quoted(actor.role)} nobypassrls nosuperuser;",
            )
        if relation.owner in self.catalogue.inherited(actor.role) and not relation.forced:
            return self._found(
                sighting,
                relation.title,
                "owner-bypasses-rls",
                f"{actor.role} has the rights of its owner {relation.owner}",
                f"alter table {relation.title} force row level security;",
            )
        return None

    def _policies(self, sighting: Sighting) -> Iterator[Found]:
        relation, actor, command = sighting.subject.relation, sighting.actor, sighting.command
        policies = [
            p
            for p in self.catalogue.policies_of(relation)
            if p.permissive and p.concerns(actor.role, command)
        ]
        new = sighting.kind in ("forged-insert", "owner-reassigned")
        row = sighting.new_row if new and sighting.new_row is not None else sighting.row
        guilty = [p for p in policies if self.true(p.new_rows if new else p.using, relation, actor, row)]
        for policy in guilty or policies:
            text = " ".join((policy.new_rows if new else policy.using) or "true" for _ in (1,))
            helper = self._helper(policy, text, sighting, row)
            if helper is not None:
                yield self._found(
                    sighting,
                    f"function {helper.title}",
                    sighting.kind,
                    f"{policy_title(policy, relation)} rests on it",
                    f"-- correct {helper.title}: it is true for {actor.title}, who is no such member",
                )
                continue
            clause = "with check" if new else "using"
            what = f"{clause} ({' '.join(text.split())[:240]})"
            yield self._found(
                sighting,
                policy_title(policy, relation),
                sighting.kind,
                what,
                self._fix(policy, sighting, [p for p in policies if p not in guilty]),
            )
        if not policies:
            yield self._beneath(sighting) or self._found(
                sighting,
                relation.title,
                sighting.kind,
                "no policy explains it",
                "-- look at its triggers and rules",
            )

    def _beneath(self, sighting: Sighting) -> Found | None:
        """What a view with its caller's rights reaches that has more: a view, a function, a trigger."""
        top = sighting.subject.relation
        if sighting.command != "SELECT":
            for trigger in self.catalogue.triggers:
                function = self.catalogue.function_by_oid.get(trigger["function"])
                if trigger["relation"] == top.oid and function is not None:
                    what = f'trigger "{trigger["name"]}" on {top.title} writes with its owner\'s rights'
                    fix = f"-- let {function.title} look at whose row it writes"
                    return self._found(sighting, f"function {function.title}", sighting.kind, what, fix)
        views = [top, *(r for oid in self.catalogue.reach(top) if (r := self.catalogue.by_oid.get(oid)))]
        for relation in views:
            if relation.kind == "v" and not relation.invoker:
                what = f"it reads with the rights of {relation.owner}, and {top.title} reads it"
                fix = f"alter view {relation.title} set (security_invoker = true);"
                return self._found(sighting, relation.title, "view-bypasses-rls", what, fix)
        text = " ".join(r.definition or "" for r in views if r.kind == "v")
        for function in self.catalogue.functions:
            if function.definer and not function.extension and any(calls(text, function.name)):
                what = f"it reads with the rights of {function.owner}, and {top.title} calls it"
                fix = f"alter function {function.title} security invoker;"
                return self._found(sighting, f"function {function.title}", sighting.kind, what, fix)
        return None

    def true(self, expression: str | None, relation: Relation, actor: Actor, row: dict[str, Any]) -> bool:
        """Whether a policy's expression is true of ``row`` for ``actor``."""
        query = f"select coalesce(({expression or 'true'}), false) from {record(relation, row)}"
        outcome = self.prober.session.attempt(actor, query)
        return bool(outcome.result and outcome.result[0][0])

    def _helper(
        self, policy: Policy, text: str, sighting: Sighting, row: dict[str, Any]
    ) -> Function | None:
        """The function that says yes to somebody who is no member, or has no such role."""
        actor, relation = sighting.actor, sighting.subject.relation
        if sighting.subject.bucket is None and not self._of_a(row):
            return None
        mine = {role for role in self.prober.power_now(actor).replace(";", ",").split(",") if role}
        if sighting.subject.bucket and not any(group in str(row["name"]) for group in self._groups("A")):
            mine = set()  # a file that lies in no group's folder: nobody is a member there
        for oid in policy.functions:
            function = self.catalogue.function_by_oid.get(oid)
            if function is None or function.schema in ("auth", "storage", "pg_catalog"):
                continue
            for call in calls(text, function.name):
                if not self._alone(function, call, text, sighting, row):
                    continue
                test = self._lie(function, call, mine, relation)
                if test and self.true(test, relation, actor, row):
                    return function
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
            asked = set(re.findall(r"'([^']*)'", call))
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
        bodies = " ".join(f.body for f in self.catalogue.called([function.oid]))
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
            relation = self.catalogue.by_title.get(membership.table)
            there = self.prober.worlds[name].rows.get((relation.oid, "")) if relation else None
            found += [str(there.data[membership.group])] if there else []
        return found

    def _triggers(self, sighting: Sighting) -> Iterator[Found]:
        relation = sighting.subject.relation
        tables = {m.table.rpartition(".")[2] for m in self.prober.declaration.memberships.values()}
        proof = f"{sighting.actor.title}: {sighting.did[:200]}: {sighting.saw}"
        for rule in rules_of(self.catalogue, relation, sighting.command):
            if any(table in rule.definition for table in tables):
                what = "what is written there makes members"
                yield replace(escalating(rule, relation, (sighting.actor.role,), what), proofs=(proof,))
        for trigger in self.catalogue.triggers:
            function = self.catalogue.function_by_oid.get(trigger["function"])
            if trigger["relation"] == relation.oid and function and any(t in function.body for t in tables):
                yield Found(
                    "trigger-escalates",
                    f"function {function.title}",
                    f'trigger "{trigger["name"]}" on {relation.title} makes members',
                    "a row that callers may write makes nobody a member",
                    f'drop trigger "{trigger["name"]}" on {relation.title};',
                    (sighting.actor.role,),
                    relation.title,
                    (proof,),
                )

    def _fix(self, policy: Policy, sighting: Sighting, others: list[Policy]) -> str:
        relation, declaration = sighting.subject.relation, self.prober.declaration
        target = f'"{policy.name}" on {relation.title}'
        rules = rules_for(sighting.subject, declaration, sighting.command, sighting.actor.role)
        if not rules or any(other.command in (policy.command, "ALL") for other in others):
            return f"drop policy {target};"
        test = " or ".join(rule_sql(rule, sighting.subject, declaration) for rule in rules)
        test = f"({test})" if len(rules) > 1 or not test.startswith("(") else test
        clauses = {"INSERT": f"with check {test}", "SELECT": f"using {test}", "DELETE": f"using {test}"}
        return f"alter policy {target} {clauses.get(policy.command, f'using {test} with check {test}')};"

    def _found(self, sighting: Sighting, culprit: str, rule: str, what: str, fix: str) -> Found:
        kind = sighting.kind if sighting.kind in _EXPECTED else rule
        proof = f"{sighting.actor.title}: {sighting.did[:200]}: {sighting.saw}" + (
            f", {sighting.variant}" if sighting.variant else ""
        )
        expected = _EXPECTED[kind]
        return Found(
            rule, culprit, what, expected, fix, (sighting.actor.role,), sighting.subject.title, (proof,)
        )
