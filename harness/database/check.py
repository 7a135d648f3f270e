"""The whole check of one database: read it, plant worlds, try everything, blame, undo."""

from __future__ import annotations

import contextlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.database import static, static_policies
from harness.database.abilities import misplanted, unable
from harness.database.beneath import beneath, untried
from harness.database.blame import Judge, blamed
from harness.database.catalogue import Catalogue, quoted, read
from harness.database.causes import at_fault
from harness.database.constellations import constellations
from harness.database.copies import copies
from harness.database.declaration import Declaration
from harness.database.findings import Found, Gap, Report, merged
from harness.database.former import surpassed
from harness.database.hiding import forgotten
from harness.database.mates import enrolled
from harness.database.novelties import novelties
from harness.database.oracle import Subject, subjects
from harness.database.overrun import overrun
from harness.database.planted import CannotPlant, World
from harness.database.prober import Prober
from harness.database.prober_functions import functions
from harness.database.prober_view_writes import through, widened
from harness.database.prober_views import view
from harness.database.promises import alike, promised
from harness.database.session import CannotBecome, Session
from harness.database.side_effects import side_effects
from harness.database.sightings import Sighting
from harness.database.unrefuted import unrefuted
from harness.database.variants import tried
from harness.database.worlds import Planter
from harness.database.written_from import changed

__all__ = ["FUNCTIONS", "TABLE", "VIEW", "Options", "check", "check_connection", "planted", "read_for"]


FUNCTIONS = "functions"
TABLE = (Prober.table, tried, novelties, constellations, promised)
VIEW = (view, widened, through)


@dataclass(frozen=True)
class Options:
    """How to check. ``timeout`` in seconds is what a single try may take; ``told`` hears what is tried."""

    dynamic: bool = True
    timeout: float = 5.0
    told: Callable[[str], None] = lambda _: None
    watch: Callable[[Prober], None] = lambda _: None
    """Is given the prober once everything is tried, the rows still there."""
    only: frozenset[str] | None = None
    """Titles of what alone is tried, without triggers; among them FUNCTIONS for all functions."""

    def tries(self, title: str) -> bool:
        """Whether ``title`` is tried."""
        return self.only is None or title in self.only


def check(dsn: str, declaration: Declaration, options: Options | None = None) -> Report:
    """Check the database behind ``dsn``.

    Raises:
        psycopg.OperationalError: when it cannot be reached, or is lost on the way.
    """
    with psycopg.connect(dsn) as connection:
        try:
            return check_connection(connection, declaration, options or Options())
        finally:
            if not connection.closed:
                connection.rollback()


def check_connection(
    connection: psycopg.Connection[Any], declaration: Declaration, options: Options
) -> Report:
    """The same on an open connection, in one transaction that the caller rolls back."""
    catalogue = read_for(connection, declaration)
    report = Report()
    report.found = static.findings(catalogue, declaration)
    known = subjects(catalogue, declaration)
    report.tables = len(known)
    report.found += static_policies.loose(catalogue, declaration, dormant=True)
    if not options.dynamic:
        report.found += static_policies.loose(catalogue, declaration)
    if options.dynamic and (why := unable(connection, catalogue, declaration)):
        report.gaps += why
    elif options.dynamic:
        _prove(connection, catalogue, declaration, known, report, options)
    report.found += changed(catalogue, declaration, known, report.gaps, report.found)
    report.found = merged(report.found)
    return report


def read_for(connection: psycopg.Connection[Any], declaration: Declaration) -> Catalogue:
    """The catalogue; sets up the open transaction, so that names are found as the Data API finds them."""
    connection.execute(b"set local statement_timeout = '60s'")  # to read; see planted
    connection.execute(b"set local lock_timeout = '2s'")
    catalogue = read(connection, declaration.callers, declaration.service)
    path = ", ".join(quoted(name) for name in (*declaration.schemas, "extensions"))
    connection.execute(f"set local search_path = {path}".encode())
    return catalogue


def _prove(
    connection: psycopg.Connection[Any],
    catalogue: Catalogue,
    declaration: Declaration,
    known: list[Subject],
    report: Report,
    options: Options,
) -> None:
    prober = planted(connection, catalogue, declaration, known, report, options)
    if prober is None:
        return
    known_bad = blamed(prober, _sightings(prober, options))
    loose = [one for one in static_policies.loose(catalogue, declaration) if options.tries(one.table)]
    known_bad += unrefuted(prober, loose, known_bad + report.found)
    closed = not any(one.proofs and one.rule != "missing-access" for one in known_bad)
    report.found += known_bad
    options.told("functions and triggers")
    if options.tries(FUNCTIONS):
        with _evaluated(prober, FUNCTIONS):
            report.found += at_fault(catalogue, functions(prober), known_bad, closed=closed)
    if closed and options.only is None:
        with _evaluated(prober, "triggers"):
            report.found += forgotten(prober)
            report.found += side_effects(prober)
            report.found += copies(prober)
    if options.tries(FUNCTIONS):
        with _evaluated(prober, FUNCTIONS):
            named = {one.object for one in report.found}
            report.found += [one for one in surpassed(prober) if one.object not in named]
    options.watch(prober)
    report.gaps += (gap for gap in prober.gaps if gap not in report.gaps)
    report.probes = prober.session.count


def planted(
    connection: psycopg.Connection[Any],
    catalogue: Catalogue,
    declaration: Declaration,
    known: list[Subject],
    report: Report,
    options: Options,
) -> Prober | None:
    """Whatever tries, with worlds planted in the open transaction; None when there can be no users.

    What keeps something from being tried is added to ``report``.
    """
    mark = secrets.token_hex(3)
    below = list(beneath(catalogue, declaration, known))
    report.gaps += misplanted(known)
    report.gaps += untried(catalogue, declaration, known, below)
    known = [*known, *below]
    connection.execute(
        f"set local statement_timeout = {int(max(options.timeout * 2, 5.0) * 1000)}".encode()
    )
    connection.execute(b"select set_config('storage.allow_delete_query', 'true', true)")
    try:
        planter = Planter(connection, catalogue, mark, declaration=declaration, subjects=known)
        worlds = _worlds(planter, known, report)
    except CannotPlant as error:
        report.gaps.append(Gap("users", str(error), "say `plant:` for the table of users"))
        return None
    connection.execute(f"set local statement_timeout = {int(options.timeout * 1000)}".encode())
    report.writes = _written(worlds)
    prober = Prober(Session(connection, declaration), catalogue, declaration, worlds, mark)
    prober.subjects = known
    prober.judge = Judge(prober).of
    return prober


def _written(worlds: dict[str, World]) -> list[str]:
    """How many rows each table got."""
    every = (row for world in worlds.values() for row in world.rows.values() if not row.found)
    rows = {id(row): row for row in every}.values()  # members share the rows of their group
    planted = Counter(row.relation.title for row in rows)
    return [f"{title}: {count} rows, rolled back" for title, count in sorted(planted.items())]


def _sightings(prober: Prober, options: Options) -> list[Sighting]:
    """What was seen of everything that is tried."""
    sightings: list[Sighting] = []
    for number, subject in enumerate(prober.subjects, 1):
        if not options.tries(subject.title):
            continue
        options.told(f"{number} of {len(prober.subjects)}  {subject.title}")
        with _evaluated(prober, subject.title):
            sightings += _tries(prober, subject)
    return sightings


@contextlib.contextmanager
def _evaluated(prober: Prober, title: str) -> Iterator[None]:
    """What keeps the rest from being tried is said."""
    try:
        yield
    except ValueError as error:
        why = f"a condition of the declaration cannot be evaluated: {error}"
        prober.gaps.append(Gap(title, why, "correct its `where` or `check`"))
    except CannotBecome as error:
        prober.gaps.append(Gap(title, str(error), "connect as one who may become them"))


def _tries(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """Everything that is tried on one table, bucket or view."""
    if (why := alike(prober, subject)) is not None:
        prober.gaps.append(why)
    for probe in TABLE if subject.relation.table else VIEW:
        yield from probe(prober, subject)


def _worlds(planter: Planter, known: list[Subject], report: Report) -> dict[str, World]:
    role = planter.declaration.signed_in
    worlds = {name: planter.world(name, role) for name in "AB"}
    gaps: list[Gap] = []
    for world in worlds.values():
        planter.act(world)
        gaps += _rows(planter, world, known)
        gaps += planter.surroundings(world)
    for mate in enrolled(planter, worlds["A"], known):
        if isinstance(mate, CannotPlant):
            hint = "say `plant:` for what keeps others out: the group's plan, say"
            gaps.append(Gap("memberships", f"no further member can be made: {mate}", hint))
        else:
            worlds[mate.actor.name] = mate
    gone = [(w, key) for name, w in worlds.items() for key in planter.refresh(w) if name in "AB"]
    for one in overrun(planter.catalogue, gone, known):
        if isinstance(one, Found):
            report.found.append(one)
        else:
            gaps.append(one)
    report.gaps += (gap for gap in dict.fromkeys(gaps) if gap not in report.gaps)
    return worlds


def _rows(planter: Planter, world: World, known: list[Subject]) -> Iterator[Gap]:
    """Plant a row of each table in ``world``; what cannot be made up is said."""
    for subject in known:
        try:
            if subject.relation.table:
                planter.plant(world, subject)
        except CannotPlant as error:
            if not subject.heir:  # whose policies are evaluated on a row of the table that it is a part of
                why = f"its rows cannot be made up: {error}"
                yield Gap(subject.title, why, "say `plant:` in the declaration")
