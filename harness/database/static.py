"""What the catalogue alone gives away. Each rule is a small function from the catalogue to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.database import (
    static_functions,
    static_grants,
    static_relations,
    static_roles,
    static_storage,
    static_trust,
)
from harness.database.catalogue import Catalogue
from harness.database.declaration import Declaration
from harness.database.findings import Found
from harness.database.rewrites import static_rules
from harness.database.static_trusted import trusted

__all__ = ["RULES", "findings"]

StaticRule = Callable[[Catalogue, Declaration], Iterator[Found]]

RULES: tuple[StaticRule, ...] = (
    static_relations.undeclared,
    static_relations.absent,
    static_relations.row_security,
    static_grants.grants,
    static_grants.lacking,
    trusted,
    static_rules,
    static_relations.views,
    static_relations.unprotected,
    static_trust.policies,
    static_trust.views,
    static_functions.exposed,
    static_functions.search_path,
    static_functions.leakproof,
    static_functions.reach_out,
    static_functions.identity,
    static_functions.dynamic_sql,
    static_functions.signup,
    static_roles.callers,
    static_roles.schemas,
    static_roles.defaults,
    static_roles.sequences,
    static_roles.publications,
    static_storage.buckets,
    static_storage.policies,
)


def findings(catalogue: Catalogue, declaration: Declaration) -> list[Found]:
    """Everything that the rules find, in the order of the rules."""
    return [found for rule in RULES for found in rule(catalogue, declaration)]
