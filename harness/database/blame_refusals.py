"""Who is to blame when somebody is refused what the declaration promises them, or a policy breaks."""

from __future__ import annotations

import re

from harness.database.findings import Found
from harness.database.prober import Prober
from harness.database.rewrites import losing, lost
from harness.database.rule_text import rule_sql, rules_for
from harness.database.sightings import Sighting

__all__ = ["missing_access", "policy_error"]


def missing_access(prober: Prober, sighting: Sighting) -> Found:
    """What refuses somebody what was promised to them."""
    relation, role, command = sighting.subject.relation, sighting.actor.role, sighting.command
    if (rule := losing(prober.catalogue, relation, command)) is not None:
        return lost(
            rule, relation, (role,), f"{sighting.actor.title}: {sighting.did[:200]}: {sighting.saw}"
        )
    if denied := re.search(r"permission denied for function (\w+)", sighting.saw):
        named = [f for f in prober.catalogue.functions if f.name == denied[1]]
        title = named[0].title if named else denied[1]
        return Found(
            "missing-access",
            f"function {title}",
            f"{role} may not call it, and a policy does",
            "callers may call what their policies call",
            f"grant execute on function {title} to {role};",
            (role,),
            sighting.subject.title,
            (sighting.did[:200],),
        )
    what, fix = _lacking(prober, sighting)
    return Found(
        "missing-access",
        f"{sighting.subject.title}, {command}",
        what,
        f"{role} may {command.lower()} as declared",
        fix,
        (role,),
        sighting.subject.title,
        (f"{sighting.actor.title}: {sighting.did[:200]}: {sighting.saw}",),
    )


def _lacking(prober: Prober, sighting: Sighting) -> tuple[str, str]:
    """What stands in the way of what was promised, and the SQL that would let it through."""
    relation, role, command = sighting.subject.relation, sighting.actor.role, sighting.command
    if not prober._possible(sighting.subject, sighting.actor, command):
        return "no grant", f"grant {command.lower()} on {relation.title} to {role};"
    policies = [p for p in prober.catalogue.policies_of(relation) if p.concerns(role, command)]
    what = "; ".join(f'policy "{p.name}"' for p in policies) if policies else "no policy"
    declaration = prober.declaration
    rules = rules_for(sighting.subject, declaration, command, role)
    test = " or ".join(rule_sql(rule, sighting.subject, declaration) for rule in rules) or "(true)"
    clauses = {"INSERT": f"with check {test}", "UPDATE": f"using {test} with check {test}"}
    clause = clauses.get(command, f"using {test}")
    name = f'"{command.lower()} as declared"'
    return what, f"create policy {name} on {relation.title} for {command.lower()} to {role} {clause};"


def policy_error(sighting: Sighting) -> Found:
    """A policy that fails where it should decide."""
    proof = f"{sighting.actor.title}: {sighting.did}: {sighting.saw}"
    return Found(
        "policy-error",
        sighting.subject.title,
        f"a policy breaks: {sighting.saw}",
        "policies decide, and do not fail",
        "-- correct the policy that raises this",
        (sighting.actor.role,),
        sighting.subject.title,
        (proof,),
    )
