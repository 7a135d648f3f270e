"""Which conditions a policy, view or function has, each by its text as a declaration notes it.

Where trying would not notice that one is missing (told_apart.py), its text is looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.database.catalogue import Function, Policy, Relation
from harness.database.weaker import Weaker, of_condition, of_function, of_query

__all__ = ["RIGHTS", "missing", "unrestricted", "weaker_clauses"]

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


def missing(
    noted: Iterable[str], thing: Policy | Function | Relation, others: Sequence[Policy] = ()
) -> set[str]:
    """Which of the conditions ``noted`` a policy, function or view does not have, wherever it should.

    Of a policy, it may stand in a restrictive one among ``others`` (those of its table) that goes with it.

    Raises:
        ValueError: when it cannot be read.
    """
    if isinstance(thing, Policy):
        return {one for one in noted if _lacks(thing, _Noted.read(one), others)}
    if isinstance(thing, Function):
        lost = {RIGHTS} & set(noted) if thing.definer else set()
        if set(noted) <= {RIGHTS}:
            return lost
        there = {weaker.lost for alternatives in of_function(thing) for weaker in alternatives}
        return lost | (set(noted) - there - {RIGHTS})
    return set(noted) - {weaker.lost for weaker in of_query(thing.definition or "")}


def unrestricted(noted: Iterable[str], others: Sequence[Policy]) -> set[str]:
    """Of the conditions of a restrictive policy that is gone: what not all that let somebody in ask for.

    Raises:
        ValueError: when it cannot be read.
    """
    read = {one: _Noted.read(one) for one in noted}
    return {one for one, told in read.items() if told.restrictive and not _everywhere(told, others)}


@dataclass(frozen=True)
class _Noted:
    """A condition as a declaration notes it, in parts."""

    restrictive: bool
    clauses: list[str]
    condition: str

    @classmethod
    def read(cls, text: str) -> _Noted:
        clauses, _, condition = text.removeprefix(RESTRICTIVE).partition(": ")
        return cls(text.startswith(RESTRICTIVE), clauses.split(_AND), condition)


def _lacks(policy: Policy, noted: _Noted, others: Sequence[Policy]) -> bool:
    if noted.restrictive and policy.permissive:
        return not _everywhere(noted, others)
    for clause in noted.clauses:
        if (there := _conditions(policy, clause)) is None:
            # a clause that is not there lets nothing through, unless it restricted what others let through
            lacks = noted.restrictive
        else:
            beside = (_conditions(other, clause) or () for other in others if _goes_with(other, policy))
            lacks = noted.condition not in there and not any(noted.condition in one for one in beside)
        if lacks:
            return True
    return False


def _everywhere(noted: _Noted, others: Sequence[Policy]) -> bool:
    """Whether each policy that lets somebody in asks for it."""
    found = [_conditions(p, clause) for p in others if p.permissive for clause in noted.clauses]
    return all(noted.condition in there for there in found if there is not None)


def _goes_with(restrictive: Policy, policy: Policy) -> bool:
    """Whether whatever ``policy`` lets through has to pass the restrictive one as well."""
    covers = restrictive.command in ("ALL", policy.command)
    return not restrictive.permissive and covers and set(policy.applies) <= set(restrictive.applies)


def _conditions(policy: Policy, clause: str) -> set[str] | None:
    """The conditions of one of its clauses, when it has that."""
    text = policy.using
    if clause == _CHECK:
        text = policy.new_rows if _decides_new_rows(policy) else None
    return None if text is None else {weaker.lost for weaker in of_condition(text)}


def _decides_new_rows(policy: Policy) -> bool:
    return policy.command in ("INSERT", "UPDATE", "ALL")
