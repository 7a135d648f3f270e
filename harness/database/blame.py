"""From what was seen to who is to blame: the policy, grant, view or function, and the SQL that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from harness.database.blame_changes import behind_view, by_itself
from harness.database.blame_helpers import Helpers
from harness.database.blame_refusals import missing_access, policy_error
from harness.database.catalogue import Catalogue, Policy, Relation, quoted
from harness.database.causes import gathered, policy_title, without_consequences
from harness.database.expressions import calls
from harness.database.findings import Found
from harness.database.oracle import Actor, record
from harness.database.prober import Prober
from harness.database.rewrites import escalating, rules_of
from harness.database.rule_text import rule_sql, rules_for
from harness.database.sightings import Sighting
from harness.database.written_from import beneath

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
            if (helper := behind_view(self.catalogue, self.prober.declaration, relation)) is not None:
                what = f"{relation.title} rests on it, with the rights of {relation.owner}"
                fix = f"-- correct {helper.title}: what it answers lets {actor.title} see more"
                return self._found(sighting, f"function {helper.title}", sighting.kind, what, fix)
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
            text = (policy.new_rows if new else policy.using) or "true"
            yield self._of_policy(sighting, policy, text, row, [p for p in policies if p not in guilty])
        if not policies:
            yield self._beneath(sighting) or self._found(
                sighting,
                relation.title,
                sighting.kind,
                "no policy explains it",
                "-- look at its triggers and rules",
            )

    def _of_policy(
        self, sighting: Sighting, policy: Policy, text: str, row: dict[str, Any], others: list[Policy]
    ) -> Found:
        """The policy that lets ``row`` through by its condition ``text``, or the helper that lies to it."""
        relation, actor = sighting.subject.relation, sighting.actor
        helper = beneath(self.catalogue, self.prober.declaration, policy, relation)
        if helper is None and not by_itself(self.catalogue, self.prober.declaration, policy, relation):
            helper = Helpers(self.prober, self.true).lying(policy, text, sighting, row)
        if helper is not None:
            return self._found(
                sighting,
                f"function {helper.title}",
                sighting.kind,
                f"{policy_title(policy, relation)} rests on it",
                f"-- correct {helper.title}: it is true for {actor.title}, who is no such member",
            )
        clause = "with check" if sighting.kind in ("forged-insert", "owner-reassigned") else "using"
        return self._found(
            sighting,
            policy_title(policy, relation),
            sighting.kind,
            f"{clause} ({' '.join(text.split())[:240]})",
            self._fix(policy, sighting, others),
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
