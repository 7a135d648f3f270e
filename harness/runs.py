"""The runs that a store keeps evidence of, in the order in which they ended; nothing is verified here.

A run is what its evidence says that it is, so its file must be called by its run, in the folder of its
environment: a copy under another name would be newer than it is.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.attestation.statement import TestResult, stamp
from harness.attestation.strict_json import Malformed
from harness.environment.gate import Gate
from harness.gate_evidence import Sealed, signed_by_runners
from harness.release import Release
from harness.store import Store

__all__ = ["ENDING", "Kept", "evidence_about", "later_runs", "newest_first"]

ENDING = ".intoto.json"
_LOOKED_AT = 200  # runs, before the search for evidence gives up
_LONGEST = dt.timedelta(hours=12)
"""No run takes longer: what began before that has ended before."""
_BEGUN = re.compile(r"[0-9]{8}T[0-9]{6}")


@dataclass(frozen=True)
class Kept:
    """Evidence as it lies in a store. ``problem`` is why it is not the evidence of the run ``run``."""

    run: str
    base: str
    sealed: Sealed
    result: TestResult | None
    problem: str = ""

    def with_report(self, store: Store) -> Sealed:
        """The same with the report that lies beside it."""
        return replace(self.sealed, report=store.get(f"{self.base}.html"))


def newest_first(store: Store, environment: str) -> Iterator[Kept]:
    """The runs of ``environment``; what ended last comes first.

    Names are in the order in which runs began. A run that began earlier and ended later is waited for. What
    is no evidence of the run that it is called by stands where its name puts it.
    """
    waiting: list[tuple[str, Kept]] = []
    end = ""
    for name in reversed(store.names(f"runs/{environment}/")):
        if not name.endswith(ENDING):
            continue
        kept = _kept(store, name, environment)
        if begun := _BEGUN.match(kept.run):
            waiting, ready = _outrun(waiting, begun[0])
            yield from ready
        if kept.result and not kept.problem:
            end = kept.result.finished_on
        elif not waiting:
            yield kept
            continue
        waiting.append((end, kept))
    yield from _outrun(waiting, "")[1]


def _outrun(waiting: list[tuple[str, Kept]], begun: str) -> tuple[list[tuple[str, Kept]], list[Kept]]:
    """Who goes on waiting when the next run began at ``begun``, and who ended after all that may follow."""
    limit = ""
    if begun:
        try:
            limit = stamp(dt.datetime.strptime(f"{begun}Z", "%Y%m%dT%H%M%S%z") + _LONGEST)
        except (ValueError, OverflowError):  # month 13: no name of ours
            return waiting, []
    ordered = sorted(waiting, key=lambda entry: entry[0], reverse=True)  # stable: of two, the later name
    return (
        [entry for entry in ordered if entry[0] <= limit],
        [kept for end, kept in ordered if end > limit],
    )


def _kept(store: Store, name: str, environment: str) -> Kept:
    base = name.removesuffix(ENDING)
    run = base.rpartition("/")[2]
    sealed = Sealed(store.where(name), store.get(name) or b"", None, run)
    try:
        result = sealed.statement.predicate
    except Malformed as malformed:
        return Kept(run, base, sealed, None, str(malformed))
    problem = ""
    if result.run != run:
        problem = f"is the evidence of run {result.run}, under another name"
    elif result.environment != environment:
        problem = f"speaks of {result.environment}, not of {environment}"
    return Kept(run, base, sealed, result, problem)


def evidence_about(store: Store, environment: str, release: Release) -> Sealed | None:
    """The newest evidence of a deploying run of ``release``; else the newest of all, if any.

    It only chooses what the gate will look at. What is no evidence of a run is chosen too, since the gate
    must name it rather than pass over it.
    """
    newest: Kept | None = None
    for kept in itertools.islice(newest_first(store, environment), _LOOKED_AT):
        about = (kept.result.release, kept.result.mode) if kept.result else None
        if kept.problem or about == (release.digest, "deploy"):
            return kept.with_report(store)
        newest = newest or kept
    return newest.with_report(store) if newest else None


def later_runs(
    store: Store, environment: str, release: Release, gate: Gate, evidence: Sealed
) -> tuple[TestResult, ...]:
    """What runs about ``release`` say that ended after ``evidence``, newest first.

    Only those count that the runners of ``gate`` have signed, whatever they are called: nobody else can
    close it.
    """
    try:
        than = evidence.statement.predicate
    except Malformed:  # the gate says so, and stays closed
        return ()
    found = []
    for kept in newest_first(store, environment):
        result = kept.result
        if result is None or not signed_by_runners(kept.sealed.envelope, gate):
            continue
        if result.finished_on < than.finished_on:
            if kept.problem:  # an old one under a newer name: what it hides may follow
                continue
            break
        if result != than and (result.environment, result.release) == (environment, release.digest):
            found.append(result)
    return tuple(found)
