"""Findings about row level security: they name the table, the policies and grants at work, and the SQL."""

from __future__ import annotations

from dataclasses import dataclass

from harness.checks.rls_session import as_owner
from harness.evidence import Finding
from harness.stack import Stack

__all__ = ["Culprit"]

_POLICIES = """
select policyname, coalesce(qual, ''), coalesce(with_check, '') from pg_policies
where schemaname = %s and tablename = %s and cmd in (%s, 'ALL')
  and (%s = any (roles) or 'public' = any (roles)) order by 1
"""
_RELATION = """
select c.relkind, c.relrowsecurity, coalesce(array_to_string(c.reloptions, ','), ''),
       has_table_privilege(%s, c.oid, %s) or has_any_column_privilege(%s, c.oid, %s)
from pg_class c where c.oid = to_regclass(%s)
"""


@dataclass(frozen=True)
class Culprit:
    """A command on a table that a role could, or could not, carry out."""

    table: str
    command: str
    role: str
    schema: str = "public"

    def finding(
        self, stack: Stack, expected: str, request: str, observed: str, *, grants: bool = False
    ) -> Finding:
        """A finding about ``request``; ``grants``: what is missing is a permission, not a refusal."""
        cause, remedy = self._explain(stack, grants)
        where = f"{self.schema}.{self.table}, {self.command} as {self.role}: {cause}"
        return Finding(expected, f"{observed} ({request})", where, remedy)

    def _explain(self, stack: Stack, grants: bool) -> tuple[str, str]:
        name = f"{self.schema}.{self.table}"
        with as_owner(stack) as connection:
            privilege = self.command if self.command != "DELETE" else "SELECT"  # columns have no DELETE
            row = connection.execute(
                _RELATION, [self.role, self.command, self.role, privilege, name]
            ).fetchone()
            policies = connection.execute(
                _POLICIES, [self.schema, self.table, self.command, self.role]
            ).fetchall()
        if row is None:
            return "the relation does not exist", "apply the migrations"
        if grants:
            return self._missing(bool(row[3]), policies)
        return self._excess(row, policies)

    def _missing(self, granted: bool, policies: list[tuple[str, str, str]]) -> tuple[str, str]:
        if not granted:
            remedy = f"grant {self.command.lower()} on {self.schema}.{self.table} to {self.role};"
            return "no grant", remedy
        return _names(policies), self._policy("create")

    def _excess(
        self, relation: tuple[str, bool, str, bool], policies: list[tuple[str, str, str]]
    ) -> tuple[str, str]:
        name = f"{self.schema}.{self.table}"
        kind, secured, options, granted = relation
        if kind in ("v", "m") and "security_invoker=true" not in options:
            return "a view with its owner's rights", f"alter view {name} set (security_invoker = true);"
        if not secured and kind in ("r", "p"):
            return "row level security is off", f"alter table {name} enable row level security;"
        if self.role == "anon" and granted:
            return f"granted to anon; {_names(policies)}", f"revoke all on {name} from anon;"
        loose = [policy for policy, using, checked in policies if "auth.uid()" not in using + checked]
        if loose and len(loose) < len(policies):
            return _names(policies), f'drop policy "{loose[0]}" on {name};'
        return _names(policies), self._policy("alter", policies[0][0] if policies else "")

    def _policy(self, verb: str, policy: str = "") -> str:
        owner = "id" if self.table == "profiles" else "owner_id"
        test = f"({owner} = (select auth.uid()))"
        clauses = {"INSERT": f"with check {test}", "UPDATE": f"using {test} with check {test}"}
        clause = clauses.get(self.command, f"using {test}")
        target = f'"{policy or "owners " + self.command.lower()}" on {self.schema}.{self.table}'
        if verb == "alter":
            return f"alter policy {target} {clause};"
        return f"create policy {target} for {self.command.lower()} to authenticated {clause};"


def _names(policies: list[tuple[str, str, str]]) -> str:
    """The policies at work, each with its expressions."""
    if not policies:
        return "no policy"
    texts = []
    for name, using, checked in policies:
        parts = [f"using {using}"] if using else []
        parts += [f"with check {checked}"] if checked else []
        texts.append(f'policy "{name}" {" ".join(parts)}')
    return "; ".join(" ".join(text.split())[:200] for text in texts)
