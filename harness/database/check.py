"""The whole check of one database: read it, plant worlds, try everything, blame, undo."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.database import static, static_policies
from harness.database.blame import Judge, blamed
from harness.database.catalogue import Catalogue, quoted, read
from harness.database.declaration import Declaration
from harness.database.findings import Found, Gap, Report, merged
from harness.database.mates import enrolled
from harness.database.novelties import novelties
from harness.database.oracle import Subject, subjects
from harness.database.planted import CannotPlant, World
from harness.database.prober import Prober, Sighting
from harness.database.prober_functions import functions
from harness.database.prober_view_writes import through, widened
from harness.database.prober_views import view
from harness.database.session import Session
from harness.database.side_effects import side_effects
from harness.database.unrefuted import unrefuted
from harness.database.variants import tried
from harness.database.worlds import Planter

__all__ = ["Options", "check", "check_connection"]


TABLE = (Prober.table, tried, novelties)
VIEW = (view, widened, through)


@dataclass(frozen=True)
class Options:
    """How to check. ``timeout`` in seconds is what a single try may take."""

    dynamic: bool = True
    timeout: float = 5.0


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
    connection.execute(b"set local statement_timeout = '60s'")  # to read and to plant; see _prove
    connection.execute(b"set local lock_timeout = '2s'")
    catalogue = read(connection, declaration.callers, declaration.service)
    path = ", ".join(quoted(name) for name in (*declaration.schemas, "extensions"))
    connection.execute(f"set local search_path = {path}".encode())  # as the Data API has it
    report = Report()
    report.found = static.findings(catalogue, declaration)
    known = subjects(catalogue, declaration)
    report.tables = len(known)
    report.found += static_policies.loose(catalogue, declaration, dormant=True)
    if not options.dynamic:
        report.found += static_policies.loose(catalogue, declaration)
    if options.dynamic and (why := unable(catalogue, declaration)):
        report.gaps.append(why)
    elif options.dynamic:
        _prove(connection, catalogue, declaration, known, report, options.timeout)
    report.found = merged(report.found)
    return report


def unable(catalogue: Catalogue, declaration: Declaration) -> Gap | None:
    """Why nothing can be tried with this connection; nothing, when it can."""
    server, user = catalogue.server, catalogue.server["user"]
    database = f"database {server['database']}"
    if server["replica"]:
        return Gap(database, "it is a read-only replica: rows cannot be planted", "check the primary")
    if not server["bypasses"]:
        return Gap(
            database, f"{user} does not bypass row level security", "connect as postgres or a superuser"
        )
    me = catalogue.roles.get(user, {})
    missing = [r for r in catalogue.api_roles if not me.get("super") and r not in catalogue.inherited(user)]
    if missing:
        return Gap(
            database, f"{user} may not become {', '.join(missing)}", f"grant {missing[0]} to {user};"
        )
    return None


def _prove(
    connection: psycopg.Connection[Any],
    catalogue: Catalogue,
    declaration: Declaration,
    known: list[Subject],
    report: Report,
    timeout: float,
) -> None:
    mark = secrets.token_hex(3)
    planter = Planter(connection, catalogue, declaration, known, mark)
    connection.execute(b"select set_config('storage.allow_delete_query', 'true', true)")
    try:
        worlds = _worlds(planter, known, report)
    except CannotPlant as error:
        report.gaps.append(Gap("users", str(error), "say `plant:` for the table of users"))
        return
    connection.execute(f"set local statement_timeout = {int(timeout * 1000)}".encode())
    prober = Prober(Session(connection, declaration), catalogue, declaration, worlds, mark)
    prober.subjects = known
    prober.judge = Judge(prober).of
    sightings: list[Sighting] = []
    for subject in known:
        try:
            for probe in TABLE if subject.relation.table else VIEW:
                sightings += probe(prober, subject)
        except ValueError as error:
            why = f"a condition of the declaration cannot be evaluated: {error}"
            report.gaps.append(Gap(subject.title, why, "correct its `where` or `check`"))
    known_bad = blamed(prober, sightings)
    known_bad += unrefuted(prober, static_policies.loose(catalogue, declaration), known_bad + report.found)
    closed = not any(one.proofs and one.rule != "missing-access" for one in known_bad)
    report.found += known_bad
    # what runs with its caller's rights does no more than the tables let it
    leaking = [one for one in functions(prober) if closed or _definer(catalogue, one)]
    report.found += [one for one in leaking if not _follows(catalogue, one, known_bad)]
    if closed:
        report.found += side_effects(prober)
    report.gaps += prober.gaps
    report.probes = prober.session.count


def _worlds(planter: Planter, known: list[Subject], report: Report) -> dict[str, World]:
    role = planter.declaration.signed_in
    worlds = {name: planter.world(name, role) for name in "AB"}
    for world in worlds.values():
        planter.act(world)
        for subject in known:
            if not subject.relation.table:
                _beneath(planter, world, subject, report)
                continue
            try:
                planter.plant(world, subject)
            except CannotPlant as error:
                if subject.heir:
                    continue  # its policies are evaluated on a row of the table that it is a part of
                gap = Gap(
                    subject.title, f"its rows cannot be made up: {error}", "say `plant:` in the declaration"
                )
                if gap not in report.gaps:
                    report.gaps.append(gap)
    for mate in enrolled(planter, worlds["A"], known):
        if isinstance(mate, CannotPlant):
            report.gaps.append(Gap("memberships", f"no further member can be made: {mate}"))
        else:
            worlds[mate.actor.name] = mate
    for world in worlds.values():
        planter.refresh(world)
    return worlds


def _beneath(planter: Planter, world: World, subject: Subject, report: Report) -> None:
    """Rows of the tables that a view reads, where nobody reaches those by themselves."""
    for oid in planter.catalogue.reach(subject.relation):
        below = planter.catalogue.by_oid.get(oid)
        if below is None or not below.table or below.schema in ("auth", "storage"):
            continue
        try:
            planter.ensure(world, below)
        except CannotPlant as error:
            gap = Gap(subject.title, f"rows that it would show cannot be made up: {error}")
            if gap not in report.gaps and below.title not in planter.declaration.tables:
                report.gaps.append(gap)


def _definer(catalogue: Catalogue, found: Found) -> bool:
    return any(f.definer for f in catalogue.functions if found.object == f"function {f.title}")


def _follows(catalogue: Catalogue, found: Found, known: list[Found]) -> bool:
    """Whether a function leaks because it asks another that is found already."""
    named = {one.object for one in known}
    asked = [f.oid for f in catalogue.functions if found.object == f"function {f.title}"]
    return any(f"function {f.title}" in named for f in catalogue.called(asked))
