"""Which conditions a policy, view or function has, each by its text as a declaration notes it.

Where trying would not notice that one is missing (told_apart.py), its text is looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.database.catalogue import Function, Policy, Relation
from harness.database.weaker import Weaker, of_condition, of_function, of_query

__all__ = ["RESTRICTIVE", "RIGHTS", "missing", "weaker_clauses"]

_USING, _CHECK = "using", "with check"
_AND = " and "
RESTRICTIVE = "restrictive "
RIGHTS = "its caller's rights"
"""What a function has that can do no more than its caller; less than a condition, and as easily lost."""


def weaker_clauses(policy: Policy) -> Iterator[tuple[str, Weaker]]:
    """Each clause of a policy without one of its conditions: `using` or `with check`, and the rest of it.

    Where new rows have to meet USING as well, what is lost is lost for `using and with check`.

    Raises:
        ValueError: when it cannot be read.
    """
    both = _AND.join((_USING, _CHECK))
    using = both if policy.check is None and _decides_new_rows(policy) else _USING
    kind = "" if policy.permissive else RESTRICTIVE
    for clause, title, text in ((_USING, using, policy.using), (_CHECK, _CHECK, policy.check)):
        for weaker in of_condition(text) if text is not None else ():
            yield clause, Weaker(weaker.text, f"{kind}{title}: {weaker.lost}")


def missing(noted: Iterable[str], thing: Policy | Function | Relation) -> set[str]:
    """Which of the conditions ``noted`` a policy, function or view does not have, wherever it should.

    Raises:
        ValueError: when it cannot be read.
    """
    if isinstance(thing, Policy):
        return {one for one in noted if _lacks(thing, one)}
    if isinstance(thing, Function):
        lost = {RIGHTS} & set(noted) if thing.definer else set()
        if set(noted) <= {RIGHTS}:
            return lost
        there = {weaker.lost for alternatives in of_function(thing) for weaker in alternatives}
        return lost | (set(noted) - there - {RIGHTS})
    return set(noted) - {weaker.lost for weaker in of_query(thing.definition or "")}


def _lacks(policy: Policy, noted: str) -> bool:
    restrictive = noted.startswith(RESTRICTIVE)
    if restrictive and policy.permissive:
        return True
    clauses, _, condition = noted.removeprefix(RESTRICTIVE).partition(": ")
    texts = {_USING: policy.using, _CHECK: policy.new_rows if _decides_new_rows(policy) else None}
    there = [texts[clause] for clause in clauses.split(_AND)]
    # a clause that is not there lets nothing through, unless it restricted what others let through
    return any(
        restrictive if text is None else condition not in {weaker.lost for weaker in of_condition(text)}
        for text in there
    )


def _decides_new_rows(policy: Policy) -> bool:
    return policy.command in ("INSERT", "UPDATE", "ALL")
