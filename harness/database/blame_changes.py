"""What has changed since the declaration was written is to blame before what has not.

A policy that is new itself is the mistake, whatever it calls. A view that stands as it stood shows more
when a helper that it calls is another one now. Of a declaration that people wrote, nothing of it is known.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.database.catalogue import Catalogue, Function, Policy, Relation
from harness.database.causes import policy_title
from harness.database.declaration import Declaration
from harness.database.written_from import functions_in, unchanged, view_title

__all__ = ["behind_view", "by_itself"]


def by_itself(catalogue: Catalogue, declaration: Declaration, policy: Policy, relation: Relation) -> bool:
    """Whether a policy is new or has changed, and nothing that it calls."""
    same = unchanged(catalogue, declaration, policy_title(policy, relation))
    if not declaration.written_from or same:
        return False
    return not _changed(catalogue, declaration, policy.functions)


def behind_view(catalogue: Catalogue, declaration: Declaration, view: Relation) -> Function | None:
    """The helper that has changed, under a view that has not."""
    if not unchanged(catalogue, declaration, view_title(view)):
        return None
    found = _changed(catalogue, declaration, functions_in(catalogue, view.definition or ""))
    return found[0] if found else None


def _changed(catalogue: Catalogue, declaration: Declaration, called: Iterable[int]) -> list[Function]:
    functions = catalogue.called(called)
    return [f for f in functions if unchanged(catalogue, declaration, f"function {f.title}") is False]
